"""A served model's HTTP API as an OpenAPI 3.1 document, for programs that write clients and tests.

documents  the whole: paths, statuses, security
requests   what each protocol's bodies may hold, from the definitions that the wire reads by
answers    what they are answered
servers    of a model of a running server
"""

from .documents import document
from .servers import served

__all__ = ["document", "served"]
