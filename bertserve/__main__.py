"""`python -m bertserve` is the command `bertserve`."""

from .cli import main

main()
