"""A served model's HTTP API as an OpenAPI 3.1 document, for programs that write clients and tests.

document   the whole: paths, statuses, security
requests   what each protocol's bodies may hold, from the definitions that the wire reads by
answers    what they are answered
served     of a model of a running server
"""

from .document import document
from .served import served

__all__ = ["document", "served"]
