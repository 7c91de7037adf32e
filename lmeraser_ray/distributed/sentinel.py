"""Says why a process ends whose Ray cluster has died. Ray's core gives a lost head up after a minute and ends the process without a word.

    head (and this machine's raylet) answer? ── not for most of that minute ──► one sentence, exit code 5, a moment before Ray's own end

Ending like that is safe, as `kill -9` is: nothing true is in the process. A head that comes back in time (on Redis) is no reason to end.
"""

import os
import socket
import sys
import threading
import time

import ray

from lmeraser_ray.errors import ExecutionError

PATIENCE_VARIABLE = "RAY_gcs_rpc_server_reconnect_timeout_s"
"""Ray's own setting: the seconds after which it gives its head up."""
USUAL_S = 60.0
SHARE = 0.75
"""Of Ray's patience that ours lasts."""


class Sentinel(threading.Thread):
    """Watches the head of the cluster that this process is connected to, for as long as it is."""

    def __init__(self, address: str) -> None:
        """address: host:port of the cluster's GCS."""
        super().__init__(name="lmeraser-sentinel", daemon=True)
        self._address = address
        self._patience = SHARE * float(os.environ.get(PATIENCE_VARIABLE, USUAL_S))

    def run(self) -> None:
        """Look, until the process leaves the cluster or the cluster the process."""
        answered = time.monotonic()
        while ray.is_initialized():
            if answers(self._address, self._patience):
                answered = time.monotonic()
            elif time.monotonic() - answered >= self._patience and ray.is_initialized():
                sys.stderr.write(
                    f"lmeraser: error: The head of the Ray cluster at {self._address} has not answered for {self._patience:g} s: look "
                    "whether it lives (`ray status`), or start another, and run the same command again; what is finished is kept.\n"
                )
                sys.stderr.flush()
                os._exit(ExecutionError.exit_code)
            time.sleep(min(1.0, self._patience / 8))


def answers(address: str, seconds: float) -> bool:
    """Whether anything accepts a TCP connection at an address `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()
    except OSError:
        return False
    return True


def watch() -> None:
    """Watch the cluster that this process has just been connected to."""
    Sentinel(ray.get_runtime_context().gcs_address).start()
