"""What runs inside TorchServe's workers, and travels in every archive.

One way through, one room a step:

    rows from TorchServe
      → wire            every body becomes a Request made of Texts, or an error of its own
      → tokenizer       Texts become token ids; truncation is noticed
      → batching        sorted by length, cut into micro-batches by a token budget
      → classifier      micro-batches become logits
      → probabilities   logits become label→probability maps
      → explanations    where it is asked for, which words carried a prediction
      → wire            each Request answers in the protocol it came in
    rows to TorchServe, one for one, in order

`bert_handler` is the door that TorchServe opens, `pipeline` walks the rooms in the middle, and
`values` and `errors` are what is carried from room to room. Nothing here imports anything of this
project outside this package.
"""
