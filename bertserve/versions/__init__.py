"""What a running server serves, and how that is changed.

versions   register, scale, set the default, canary, unregister
rollouts   replace a model by its next version without losing a request
checks     what a new version must pass before it is trusted
rollbacks  back to the version before
metrics    what the workers of each version have counted
"""

from .checks import Limits
from .metrics import Metrics
from .rollbacks import rollback
from .rollouts import rollout
from .versions import Versions

__all__ = ["Limits", "Metrics", "Versions", "rollback", "rollout"]
