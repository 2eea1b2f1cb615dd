"""What proves and measures bertserve on a GPU: `scripts/gpu`, docs/gpu.md.

right       the same probabilities as in float32 on the CPU, and the same bits whatever the neighbours
survives    out of memory, an error that ends the worker, two workers on one GPU
fast        the engine alone, against padding, torch.compile and the rate of matrix products
served      a real TorchServe: readiness, requests a second, a rollout under load, memory, metrics
models      the random models that all parts use
checks      what a check is, and how all of them are run, shown and written down
callers     load over HTTP
pack        what a machine without a network needs
fake        the whole CUDA path without a GPU
"""
