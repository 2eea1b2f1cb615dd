"""TorchServe's front end, mended: what cannot be sent ends no worker, a lone request waits for nobody.

mending       the classes that are mended, and where the mended ones are kept
class_files   Java class files, as far as methods are changed here
"""

from .mending import mend

__all__ = ["mend"]
