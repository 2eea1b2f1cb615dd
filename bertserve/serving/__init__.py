"""TorchServe started, watched and stopped.

server       a server that runs: its addresses, keys, models, clients; found, and stopped
starting     started with every archive of a model store, until all workers are READY
config/      where it listens, from its config.properties, as TorchServe reads that
ports        that can be bound
state        the folder of its state
store        the archives of a model store, and which version is served by default
management   changes, over the gRPC management API
supervisor   a process that watches: lost workers are brought back, readiness and gauges are true
health       what machines ask it: is the server alive, is it ready, let it be drained
gauges       what it knows, for Prometheus and autoscalers
workers      what the workers really are, whatever TorchServe believes
frontend/    TorchServe's front end, mended where an answer that cannot be sent would end a worker
logs         why a worker does not load, or TorchServe does not start
"""

from .config import Config, read_config, usual_config
from .management import CHANGING, LOADING, change, scaling
from .server import Server, find, known_addresses
from .starting import start
from .state import alone
from .store import StoredArchive, distrust, look_through, version_key
from .workers import read_written_off, slots

__all__ = [
    "CHANGING",
    "LOADING",
    "Config",
    "Server",
    "StoredArchive",
    "alone",
    "change",
    "distrust",
    "find",
    "known_addresses",
    "look_through",
    "read_config",
    "read_written_off",
    "scaling",
    "slots",
    "start",
    "usual_config",
    "version_key",
]
