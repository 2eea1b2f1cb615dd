"""TorchServe's front end, mended where an answer that cannot be sent would end a worker for good.

mending       the class that is mended, and where the mended one is kept
class_files   Java class files, as far as a method can be given one more `catch`
"""

from .mending import mend

__all__ = ["mend"]
