"""The commands: they parse, call the package that does the work, and print.

app                the program, and what its commands share
archives           package, inspect, fetch
serve              serve, status, drain, stop; proxy
predict            predict
console            console, openapi
quality            evaluate, calibrate
explain            explain
score              score
versions           rollout, rollback, canary, models …
texts              texts from arguments and files, labelled ones too
printing           tables, and JSON for programs
tables             those of evaluations and calibrations
terminal           what is printed is shown, never obeyed
"""

from . import (  # each adds its commands
    archives,
    console,
    explain,
    predict,
    quality,
    score,
    serve,
    versions,
)
from .app import main

__all__ = [
    "archives",
    "console",
    "explain",
    "main",
    "predict",
    "quality",
    "score",
    "serve",
    "versions",
]
