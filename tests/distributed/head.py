"""A real head of Ray with its job server and token authentication, as tests of this folder start it: fixture `head` in conftest.py."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from lmeraser_ray.erasure.signing import KeyFolder
from tests.faults.children import wait_until

ROOT = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")
PATH = f"{RAY.parent}:{os.environ['PATH']}"
"""With the commands of this environment."""


@dataclass(frozen=True)
class Head:
    """A head with a job server. place: its folder; gcs: where nodes join it; settings: the environment of whoever may send jobs to it."""

    place: Path
    gcs: str
    settings: dict[str, str]

    def ray(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """A command of Ray's, typed in the project's folder."""
        environment = {**os.environ, **self.settings, **settings}
        return subprocess.run([RAY, *words], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)

    def submit(self, *words: str, wait: bool = True, folder: Path = ROOT, **settings: str) -> subprocess.CompletedProcess[str]:
        """`ray job submit` of a script of `jobs/`, or of a module."""
        options = ["--working-dir", str(folder)] if wait else ["--working-dir", str(folder), "--no-wait"]
        return self.ray("job", "submit", *options, "--", "python", *words, **settings)


def told(done: subprocess.CompletedProcess[str]) -> str:
    """All that a command printed."""
    return done.stdout + done.stderr


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def started(postgresql: str) -> Iterator[Head]:
    """`ray start --head`, with token authentication; all that it started ends with it."""
    place = Path(tempfile.mkdtemp(prefix="lr-", dir="/tmp"))
    KeyFolder(place / "keys").init()
    token = place / "token"
    token.write_text(secrets.token_hex(16))
    settings = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "LMERASER_DATABASE": postgresql,
        "LMERASER_KEYS": str(place / "keys"),
        "PATH": PATH,
        "PYTHONPATH": "",  # jobs bring the package along
        "RAY_DISABLE_IMPORT_WARNING": "1",
    }
    port = free_port()
    words = ["start", "--head", "--block", "--num-cpus=2", "--temp-dir", str(place / "ray"), "--disable-usage-stats"]
    ports = [f"--{name}={free_port()}" for name in ("dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port")]
    log = place / "head.log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            [RAY, *words, f"--port={port}", *ports, "--node-ip-address=127.0.0.1"],
            env={**os.environ, **settings},
            stdout=sink,
            stderr=sink,
            cwd=place,
            start_new_session=True,
        )
    try:
        wait_until(lambda: re.search(r"http://127\.0\.0\.1:\d+\D", log.read_text()) or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        [where] = set(re.findall(r"http://127\.0\.0\.1:\d+", log.read_text()))
        yield Head(place, f"127.0.0.1:{port}", {**settings, "RAY_API_SERVER_ADDRESS": where, "RAY_ADDRESS": where})
    finally:
        process.kill()
        process.wait()
        for left in psutil.process_iter(["cmdline"]):
            if any(str(place) in word for word in left.info["cmdline"] or []):
                left.kill()
        shutil.rmtree(place, ignore_errors=True)
