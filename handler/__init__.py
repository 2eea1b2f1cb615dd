"""What runs inside TorchServe's workers, and travels in every archive.

One way through, a package a step:

    rows from TorchServe
      → wire            every body becomes a Request made of Texts, or an error of its own
      → text            Texts become token ids; truncation is noticed
      → engine          token ids become logits, in micro-batches
      → probabilities   logits become label→probability maps
      → explanations    where it is asked for, which words carried a prediction
      → wire            each Request answers in the protocol it came in
    rows to TorchServe, one for one, in order

`bert_handler` is the door that TorchServe opens, `pipeline` walks the rooms in the middle. What all steps
share stands beside them: `settings`, `values`, `errors`, `checksums`, `metrics`, and TorchServe's traps
in `torchserve`, `reader` and `heartbeat`. Nothing here imports anything of this project outside this
package.
"""
