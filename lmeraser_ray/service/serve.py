"""`serve`: predictions, erasure requests over HTTP, and the queue that works them off, by one
command.

    execution.engine inline   HTTP and predictions in a process beside this one
    else                      an application of Ray Serve: replicas on the cluster

Either way this process is the queue's (`operations/queue.py`): it alone reads the signing key, and
Ctrl-C ends all in order.
"""

from contextlib import AbstractContextManager

from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.requests.events import Event, Say
from lmeraser_ray.operations.queue import Done
from lmeraser_ray.operations.queue import serve as serve_queue
from lmeraser_ray.operations.stop_signal import Stop
from lmeraser_ray.pipeline.engines import cluster, service_replicas
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.service.local import bound, served_here
from lmeraser_ray.service.service_spec import ServiceSpec

HOST, PORT = "127.0.0.1", 8765


def serve(
    session: Session,
    *,
    keys: KeyFolder,
    say: Say,
    host: str = HOST,
    port: int = PORT,
    stop: Stop | None = None,
    trusted: bool = False,
) -> Done:
    """Serve a workspace until told to stop. host, port: where; the other arguments, and errors:
    those of `operations.queue.serve`. Errors: `ExecutionError` where nothing can listen there."""
    session.folder.require_published()
    keys.require_ready()
    execution = session.config().execution
    spec = ServiceSpec.of(session, host, port, keys.public_keys())
    hosted: AbstractContextManager[str]
    if execution.engine == "inline":
        hosted = served_here(spec, say)
    else:
        bound(host, port).close()  # Ray Serve would try for minutes
        hosted = service_replicas(spec)
    with cluster(execution), hosted as url:
        say(Event("serving", None, {"url": url}))
        return serve_queue(session, keys=keys, say=say, stop=stop, trusted=trusted)
