"""The service in one process beside the queue's, for a machine without Ray.

    this process: the queue, the signing key ──starts again──► a process: HTTP, predictions

A process of its own, since numerics are a process's: a training beside predictions would run with
their number of threads. Invariants: it never has the signing key; it ends with this process,
however that ends; requests wait at the socket, which this process holds, while it is started again.
"""

import logging
import multiprocessing
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection

import uvicorn

from lmeraser_ray.erasure.requests.events import Event, Pauses, Say
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.service.application import create_app
from lmeraser_ray.service.batches import Batches
from lmeraser_ray.service.predictor import Predictor
from lmeraser_ray.service.service_spec import ServiceSpec

PROCESSES = multiprocessing.get_context("spawn")
BACKLOG = 2048
IDLE_S = 75
"""Seconds that a connection without a request is kept: longer than clients keep one, so that none
is closed in the moment in which they use it again."""
GRACE_S = 5
"""Seconds that requests under way may take at the end."""


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address. Errors: `ExecutionError` where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ExecutionError(
            f"The service cannot listen at {host}:{port} ({reason}): give another --port or --host."
        ) from error


@contextmanager
def served_here(spec: ServiceSpec, say: Say) -> Iterator[str]:
    """Serve while the context lasts. Yields the address. Errors: `ExecutionError` as `bound`."""
    ended = threading.Event()
    with closing(bound(spec.host, spec.port)) as listening:
        keeper = Keeper(spec, listening, say, ended)
        thread = threading.Thread(target=keeper.keep, name="lmeraser-service", daemon=True)
        thread.start()
        try:
            yield f"{spec.url.rpartition(':')[0]}:{listening.getsockname()[1]}"
        finally:
            keeper.end()
            thread.join()


class Keeper:
    """Keeps the serving process running until the end."""

    def __init__(
        self, spec: ServiceSpec, listening: socket.socket, say: Say, ended: threading.Event
    ) -> None:
        self._spec, self._listening, self._say, self._ended = spec, listening, say, ended
        self._ours, self._theirs = PROCESSES.Pipe()

    def keep(self) -> None:
        """Start the process, and again where it died."""
        failing = Pauses()
        while not self._ended.is_set():
            child = PROCESSES.Process(
                target=run, args=(self._spec, self._listening, self._theirs), daemon=True
            )
            child.start()
            child.join()
            if not self._ended.is_set():
                died = ExecutionError(f"The serving process ended ({child.exitcode}).")
                pause = failing.begin()
                self._say(Event("service-restart", None, {"error": str(died), "pause": pause}))
                self._ended.wait(pause)

    def end(self) -> None:
        """Have the process finish what it does, and end."""
        self._ended.set()
        self._ours.close()


def run(spec: ServiceSpec, listening: socket.socket, parent: Connection) -> None:
    """Serve in this process until the parent closes its end of the connection, or dies."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent's, which ends this in turn
        signal.signal(number, signal.SIG_IGN)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # `problems` says what it may
    session = spec.session()
    answer = Batches(Predictor(session).answer, session.config().serve.batch)
    settings = uvicorn.Config(
        create_app(spec.site(answer)),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = QuietServer(settings)
    threading.Thread(target=await_end, args=(server, parent), daemon=True).start()
    server.run(sockets=[listening])


class QuietServer(uvicorn.Server):
    """A server that leaves signals alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def await_end(server: uvicorn.Server, parent: Connection) -> None:
    """End the server once the parent is gone."""
    try:
        parent.recv()
    except (EOFError, OSError):
        server.should_exit = True
