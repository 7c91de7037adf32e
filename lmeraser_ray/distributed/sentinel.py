"""The sentinel says why a process ends whose Ray cluster has died: Ray's core gives up a lost head
after a minute, and ends the process without a message.

    does the head answer a greeting? ── not for most of that minute
        ──► one sentence and exit code 5, a moment before Ray's own end

Ending like this is as safe as `kill -9`: the process holds no state that matters. A head that comes
back in time (with Redis) ends nothing. A head that hangs is as one that is lost.
"""

import os
import threading
import time

import ray

from lmeraser_ray.distributed.address import speaks
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.pipeline.outlet import print_line

PATIENCE_VARIABLE = "RAY_gcs_rpc_server_reconnect_timeout_s"
"""Ray's own setting: the seconds after which it gives its head up."""
USUAL_S = 60.0
SHARE = 0.75
"""The share of Ray's patience after which the sentinel ends the process."""
LOOKS = 4
"""The least failures in a row: the first look after a machine slept may fail."""


class Sentinel(threading.Thread):
    """Watches the head of a cluster until stopped. Does nothing where the head cannot be reached at
    the beginning, as behind `ray://`."""

    def __init__(self, address: str) -> None:
        """address: host:port of the cluster's GCS."""
        super().__init__(name="lmeraser-sentinel", daemon=True)
        self._address = address
        self._patience = SHARE * float(os.environ.get(PATIENCE_VARIABLE, USUAL_S))
        self._pause = min(1.0, self._patience / 8)
        self._stop = threading.Event()

    def stop(self) -> None:
        """Stop watching: the process leaves the cluster."""
        self._stop.set()

    def run(self) -> None:
        """Look at the head until stopped, or until the head is lost."""
        if not speaks(self._address, self._pause * LOOKS):
            return
        failed, since = 0, 0.0
        while not self._stop.wait(self._pause):
            if speaks(self._address, self._pause * LOOKS):
                failed = 0
                continue
            failed, since = failed + 1, since if failed else time.monotonic()
            if (
                failed >= LOOKS
                and time.monotonic() - since >= self._patience
                and not self._stop.is_set()
            ):
                self._end()

    def _end(self) -> None:
        print_line(
            f"lmeraser: error: The head of the Ray cluster at {self._address} has not answered "
            f"for {self._patience:g} s: look whether it lives (`ray status`), or start another, "
            "and run the same command again; what is finished is kept."
        )
        os._exit(ExecutionError.exit_code)


_watching: list[Sentinel] = []


def watch() -> None:
    """Watch the cluster that this process has just connected to, and no other."""
    leave()
    _watching.append(Sentinel(ray.get_runtime_context().gcs_address))
    _watching[-1].start()


def leave() -> None:
    """Watch nothing: the process leaves the cluster."""
    while _watching:
        _watching.pop().stop()
