"""A real head of Ray with its job server and token authentication, as tests of this folder start
it: fixture `head` in conftest.py."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from tests.support.children import wait_until
from tests.support.redis import Redis

ROOT = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")
PATH = f"{RAY.parent}:{os.environ['PATH']}"
"""With the commands of this environment."""


@dataclass
class Node:
    """A node of Ray as a process of this machine. words: what `ray start` is given; settings: its
    variables, besides this process's own; log: what it prints; alone: it sees no processes but its
    own, as in a pod (needs root)."""

    words: Sequence[str]
    settings: Mapping[str, str]
    log: Path
    alone: bool = False
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """`ray start --block`. Returns at once."""
        command, environment = (
            [str(RAY), "start", "--block", "--disable-usage-stats", *self.words],
            {**os.environ, **self.settings},
        )
        if self.alone:
            command = [
                "unshare",
                "--pid",
                "--mount",
                "--fork",
                "--mount-proc",
                "--kill-child",
                *command,
            ]
        with self.log.open("wb") as sink:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdout=sink,
                stderr=sink,
                cwd=self.log.parent,
                start_new_session=True,
            )

    def wait_for(self, sign: str) -> str:
        """Wait until it prints what this regular expression finds, which is returned."""
        process = self.process
        assert process
        wait_until(lambda: re.search(sign, self.log.read_text()) or process.poll() is not None)
        assert process.poll() is None, self.log.read_text()
        [found] = set(re.findall(sign, self.log.read_text()))
        return str(found)

    def processes(self) -> list[psutil.Process]:
        """All that it has started, and itself; none where it has ended."""
        assert self.process
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.process.pid)
            return [first, *first.children(recursive=True)]
        return []

    def die(self) -> None:
        """kill -9 of all of these."""
        for each in self.processes():
            with suppress(psutil.NoSuchProcess):
                each.kill()
        assert self.process
        self.process.wait()


@dataclass(frozen=True)
class Head:
    """A head with a job server. place: its folder; gcs: where nodes join it; settings: the
    environment of whoever may send jobs to it."""

    place: Path
    gcs: str
    settings: dict[str, str]
    node: Node

    def ray(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """A command of Ray's, typed in the project's folder."""
        environment = {**os.environ, **self.settings, **settings}
        return subprocess.run(
            [RAY, *words],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def submit(
        self, *words: str, wait: bool = True, folder: Path = ROOT, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """`ray job submit` of a script of `jobs/`, or of a module."""
        options = (
            ["--working-dir", str(folder)] if wait else ["--working-dir", str(folder), "--no-wait"]
        )
        return self.ray("job", "submit", *options, "--", "python", *words, **settings)


def told(done: subprocess.CompletedProcess[str]) -> str:
    """All that a command printed."""
    return done.stdout + done.stderr


RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
CLAIMS: list[socket.socket] = []
"""Names that stand for the ports of this process, for as long as it lives."""


def free_port() -> int:
    """One that nobody listens on, and that nobody gets by chance before its server listens: the
    kernel gives those of its range away, and each process of these tests claims its own."""
    first, last = map(int, RANGE.read_text().split())
    for port in (*range(last + 1, 65536), *range(first - 1, 20_000, -1), 0):
        claim = socket.socket(socket.AF_UNIX)
        with suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            found = int(listener.getsockname()[1])
            claim.bind(f"\0lmeraser-tests-{found}")
            CLAIMS.append(claim)
            return found
        claim.close()
    raise AssertionError("no port is free")


WHERE = r"(http://127\.0\.0\.1:\d+)\D"
"""A head prints this when its job server is there."""


@contextmanager
def started(postgresql: str, cpus: int = 2, redis: Redis | None = None) -> Iterator[Head]:
    """`ray start --head`, with token authentication; all that it started ends with it. redis: where
    it keeps what it knows of the cluster; another head can come in its place then: Ray starts none
    where it sees processes of its cluster."""
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
    port, own = free_port(), dict[str, str]()
    words = [
        "--head",
        f"--num-cpus={cpus}",
        f"--temp-dir={place / 'ray'}",
        f"--port={port}",
        "--node-ip-address=127.0.0.1",
    ]
    words += [
        f"--{name}={free_port()}"
        for name in ("dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port")
    ]
    if redis:  # as KubeRay gives it to heads
        if subprocess.run(
            ["unshare", "--pid", "--mount", "--fork", "true"], check=False
        ).returncode:
            pytest.skip("needs root that may make namespaces")
        own = {
            "RAY_REDIS_ADDRESS": redis.address,
            "RAY_external_storage_namespace": secrets.token_hex(8),
        }
        words += [f"--redis-password={redis.password}"]
    node = Node(words, {**settings, **own}, place / "head.log", alone=redis is not None)
    node.start()
    try:
        where = node.wait_for(WHERE)
        yield Head(
            place,
            f"127.0.0.1:{port}",
            {**settings, "RAY_API_SERVER_ADDRESS": where, "RAY_ADDRESS": where},
            node,
        )
    finally:
        node.die()
        for left in psutil.process_iter(["cmdline"]):
            if any(str(place) in word for word in left.info["cmdline"] or []):
                with suppress(psutil.NoSuchProcess):
                    left.kill()
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def joined(head: Head, log: Path, cpus: int) -> Iterator[Node]:
    """Another node of a head's cluster, with the patience that KubeRay gives workers, and with
    files of its own: two nodes that unpack what a job brings along take it away from each other in
    one place."""
    words = [
        f"--address={head.gcs}",
        f"--num-cpus={cpus}",
        f"--dashboard-agent-listen-port={free_port()}",
        "--node-ip-address=127.0.0.1",
    ]
    words += [f"--temp-dir={head.place / 'worker'}"]
    node = Node(words, {**head.settings, "RAY_gcs_rpc_server_reconnect_timeout_s": "600"}, log)
    node.start()
    try:
        node.wait_for(r"Ray runtime started")
        yield node
    finally:
        node.die()
