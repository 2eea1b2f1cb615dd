"""What the machine can do to us: signals, processes, folders, full disks.

processes   processes that must not outlive what they are for
tied        what ends with the program that started it
forkserver  programs that share what they import, forked by the program `forking`
scratch     folders for what is on the way, and files that appear whole
signals     Ctrl-C and its kin while something must not be left half done
remedies    what to do about what the operating system refuses
"""

from .forkserver import Forkserver
from .processes import end_family, tied_command, torchserve_in
from .remedies import sentence, with_remedy
from .scratch import appearing, locked, make_scratch, scratch_folder
from .signals import ENDINGS, as_ctrl_c, heeded, ignored, postponed
from .tied import tie_to

__all__ = [
    "ENDINGS",
    "Forkserver",
    "appearing",
    "as_ctrl_c",
    "end_family",
    "heeded",
    "ignored",
    "locked",
    "make_scratch",
    "postponed",
    "scratch_folder",
    "sentence",
    "tie_to",
    "tied_command",
    "torchserve_in",
    "with_remedy",
]
