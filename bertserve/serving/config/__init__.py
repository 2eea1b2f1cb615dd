"""config.properties, as TorchServe reads it.

addresses             where a server listens, and the copy that TorchServe gets
properties            Java's .properties, read and written
torchserve_settings   settings that are numbers, switches or patterns, and which values they can have
"""

from .addresses import PACKAGED, Config, complete, location, read_config, usual_config

__all__ = ["PACKAGED", "Config", "complete", "location", "read_config", "usual_config"]
