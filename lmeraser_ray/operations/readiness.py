"""What an erasure will need at its end is looked at before its request is written, and before a
queue begins: a request that cannot be finished is not begun.

Place in the flow: `unlearn`, `queue serve` and `queue run` call `require_ready` first, and
`Store.require_room` once they hold the workspace.
"""

from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.pipeline.engines import require_cluster
from lmeraser_ray.pipeline.session import Session


def require_ready(session: Session, keys: KeyFolder) -> None:
    """Errors, before any work: those of `KeyFolder.require_ready`; `ConfigError` where the
    backbone's weights are a file that nobody names; `ExecutionError` where no Ray cluster answers
    at the address that is configured."""
    config = session.config()
    config.backbone.require_weights()
    keys.require_ready()
    require_cluster(config.execution)
