"""The address of a cluster that runs already, and whether anything answers there. Loads no Ray: a
command asks before it begins anything."""

import os
import re
import socket
import sys
import time

from lmeraser_ray.config import ExecutionConfig
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.pipeline.waiting import Waiting

VARIABLE = "RAY_ADDRESS"
HEAD = re.compile(r"(?:ray://)?(?P<host>\[[^\]]+\]|[^\[\]/:]+):(?P<port>\d{1,5})")
"""An address that names a head. `auto` and `local` do not."""
ANSWER_S, PAUSE_S = 8.0, 0.5
"""Seconds that a head has to accept a connection (it may be starting), and then to answer."""
SETTINGS = b"\x04"
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + SETTINGS + bytes(5)
"""How a client of HTTP/2 begins (RFC 9113, 3.4), with the kind of a frame of settings."""


def configured(execution: ExecutionConfig) -> str | None:
    """The address as `execution.address`, else the environment, has it; None, which is `local`
    too, starts a local cluster."""
    found = execution.address or os.environ.get(VARIABLE)
    return None if found in ("", "local") else found


def connected_already() -> bool:
    """Whether this process is connected to a cluster."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def require_head(address: str | None) -> None:
    """Errors: `ExecutionError` that names the address, where nothing accepts a connection at it for
    `ANSWER_S` seconds. An address that names no head is not looked at."""
    found = HEAD.fullmatch(address or "")
    if found is None:
        return
    head, end = f"{found['host']}:{found['port']}", time.monotonic() + ANSWER_S
    with Waiting(f"for the Ray cluster at {address} to answer"):
        while not answers(head, 2 * PAUSE_S):
            if time.monotonic() >= end:
                raise unreachable(address or "", "nothing accepts a connection there")
            time.sleep(PAUSE_S)
        if not speaks(head, ANSWER_S):
            raise unreachable(address or "", "what accepts connections there does not answer")


def unreachable(address: str, why: str) -> ExecutionError:
    """The error that tells which address does not serve, and where it comes from."""
    return ExecutionError(
        f"The Ray cluster at {address} cannot be used: {why}. Start it (anew), correct "
        f"--execution.address or {VARIABLE} (without them, a local one is started), or set "
        "--execution.engine inline."
    )


def speaks(address: str, seconds: float) -> bool:
    """Whether a live server of HTTP/2, which gRPC is, answers a greeting with its settings. A head
    that hangs, or another program at its port, does not. Under TLS it is only asked to accept."""
    if "RAY_USE_TLS" in os.environ:
        return answers(address, seconds)
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=seconds) as connection:
            connection.sendall(GREETING)
            return connection.recv(9, socket.MSG_WAITALL)[3:4] == SETTINGS
    except (OSError, OverflowError, UnicodeError):
        return False


def answers(address: str, seconds: float) -> bool:
    """Whether anything accepts a TCP connection at an address `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()
    except (OSError, OverflowError, UnicodeError):
        return False
    return True
