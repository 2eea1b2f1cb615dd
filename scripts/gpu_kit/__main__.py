"""Prove and measure bertserve on a GPU.

scripts/gpu                                  all parts, with random models
scripts/gpu --model FOLDER --json gpu.json   your own classifier too; all figures in a file
scripts/gpu --cpu                            the same code without a GPU, small
scripts/gpu --pack DIR                       lay out what a GPU machine without a network needs
scripts/gpu --from DIR                       use that, there
scripts/gpu --fake                           the whole CUDA path without a GPU, by torch's CUDA build
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

PARTS = ("right", "survives", "fast", "served")


def main() -> int:
    """Hand over to what was asked for: the rest may need what is not there yet."""
    options = parse()
    if problem := _problem(options):
        print(f"Error: {problem}", file=sys.stderr)
        return 2
    if options.pack:
        from .pack import pack

        return pack(options.pack, options.python, options.model)
    if options.parts_from:
        from .pack import unpack

        carried = unpack(options.parts_from)
        options.model = options.model or carried
    if options.fake:
        from .fake import drive

        return drive()
    from .table import run_all

    return run_all(options)


def _problem(options: argparse.Namespace) -> str:
    """What is wrong with the arguments, before anything is begun; "" where nothing is."""
    if options.model and not (options.model / "config.json").is_file():
        return f"{options.model} is no model's folder: it has no config.json"
    if options.json and (options.json.is_dir() or not options.json.absolute().parent.is_dir()):
        return f"{options.json} cannot be written: name a file in a folder that is there"
    return ""


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/gpu", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cpu", action="store_true", help="without a GPU, small")
    parser.add_argument("--model", type=Path, help="folder of a fine-tuned classifier")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--minutes", type=float, default=15, help="begin nothing after so many")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--pack", type=Path, metavar="DIR")
    parser.add_argument("--python", default="3.12", help="of the machine that is packed for")
    parser.add_argument("--from", type=Path, metavar="DIR", dest="parts_from")
    parser.add_argument("--fake", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
