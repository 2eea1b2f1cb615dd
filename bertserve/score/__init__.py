"""Whole tables scored by the archive that is served: a laptop's folder, or a warehouse on Ray.

scorer      a table becomes a scored table; for people's own programs, Ray Data and Spark
columns     the columns of a scored table
processes   the processes that compute for a Scorer
engine      what they do, as a program with the archive's own handler
job         what is scored, by what, where to, and what is done of it
parts       files of tables, here or in object storage, in parts
lines       CSV and JSON lines from any part of a file
files       files of results, each whole or not there
summary     what rows came to
local       a job on this machine
cluster     a job on Ray
"""

from collections.abc import Iterator, Sequence

from .files import Folder
from .job import Done, Job
from .lines import Columns
from .local import measure, run_here
from .parts import Part
from .processes import Options
from .scorer import Scorer
from .summary import Summary

__all__ = [
    "Columns",
    "Done",
    "Folder",
    "Job",
    "Options",
    "Part",
    "Scorer",
    "Summary",
    "measure",
    "run_here",
    "run_on_ray",
]


def run_on_ray(
    job: Job, parts: Sequence[Part], address: str, workers: int | None = None
) -> Iterator[Done]:
    """See `cluster`, which is loaded now: who scores without Ray need not have it."""
    from . import cluster

    return cluster.run_on_ray(job, parts, address, workers)
