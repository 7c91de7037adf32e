"""Whether a process of this machine is gone: so that a lease whose holder was killed is free at once, and not after its time.

A process is known by its mark: the machine's boot, the namespace of process ids, its id, and when it started, since ids are given again.
Of another machine's process, or where the system does not say (only Linux does), nothing is known, and it counts as there.
"""

import os
from pathlib import Path

BOOT = Path("/proc/sys/kernel/random/boot_id")
NAMESPACE = "/proc/self/ns/pid"
ENDED = ("Z", "X")
"""States of /proc/PID/stat in which a process runs no more: its parent has not asked for its end yet."""


def mark() -> str | None:
    """The mark of this process, None where the system does not say."""
    place, stat = _place(), _stat(os.getpid())
    return f"{place} {os.getpid()} {stat[1]}" if place and stat else None


def gone(known: str | None) -> bool:
    """Whether the process with this mark has certainly ended."""
    if known is None:
        return False
    place, pid, started = known.rsplit(" ", 2)
    if place != _place():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's: it is there
        pass
    stat = _stat(int(pid))
    return stat is not None and (stat[0] in ENDED or stat[1] != started)


def _place() -> str | None:
    """What process ids are relative to: the boot and the namespace."""
    try:
        return f"{BOOT.read_text().strip()} {os.readlink(NAMESPACE)}"  # noqa: PTH115 - the link's text names no file
    except OSError:
        return None


def _stat(pid: int) -> tuple[str, str] | None:
    """A process's state and when it started, in clock ticks since the boot; None where nobody says."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return fields[0], fields[19]
