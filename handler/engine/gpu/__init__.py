"""A packed model on a GPU: fewer kernels, and graphs of them. Nothing of it is imported on a CPU.

ways        the ways to compute a packed model faster, each taken only where it gives the same
encoder     an encoder in as few kernels as can be
kernels     what torch takes several passes over memory for, or has not, in one each, by Triton
plain       the same by torch
graphs      small micro-batches, repeated without being launched kernel by kernel
"""

from .ways import attend_by_triton, speed_up

__all__ = ["attend_by_triton", "speed_up"]
