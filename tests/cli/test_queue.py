"""`lmeraser queue` as it is typed: real processes, real signals; one of them with a Ray of its
own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from lmeraser_ray.cli import main as cli
from lmeraser_ray.erasure.queue.affected_constituents import PublishedState
from lmeraser_ray.erasure.queue.overview import Overview, overview_of
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from tests.support.world import World

RANDOM = {
    "partition": {"kind": "random", "shards": 4},
    "aggregation": {"kind": "all"},
    "queue": {"poll": 0.05},
}
PATIENCE = 180.0


@dataclass
class Place:
    """A workspace trained on a world, some epochs long."""

    world: World
    root: Path
    epochs: int = 2

    @property
    def sections(self) -> dict[str, dict[str, object]]:
        return {**RANDOM, "learner": {"epochs": self.epochs}}

    @property
    def session(self) -> Session:
        return Session(self.root)

    def names(self) -> list[str]:
        """A record of each lane."""
        folder = self.session.folder
        current = PublishedState.read(
            folder.store, self.session.config(), folder.require_published()
        )
        found = dict(
            zip(current.constituents.tolist(), current.index.names("record_id"), strict=True)
        )
        return [name for lane, name in sorted(found.items()) if lane >= 0]

    def submit(self, *names: str) -> str:
        with self.session.database() as database:
            return RequestRepository(database, self.session.names()).submit(names, []).id

    def states(self) -> list[State]:
        with self.session.database() as database:
            return [
                request.state
                for request in RequestRepository(database, self.session.names()).list()
            ]

    def standing(self) -> Overview:
        return overview_of(self.session)

    def expect(self, gone: list[str]) -> None:
        never = Session(self.world.space())
        train(never, self.world.without(gone, **self.sections))
        assert fingerprint(self.session) == fingerprint(never)
        assert verify(self.session).differences == ()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    world = World(tmp_path_factory.mktemp("queue") / "world", n=24)
    place = Place(world, world.space())
    train(place.session, world.config(**place.sections))
    return place


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Place:
    shutil.copytree(made.root, tmp_path / "workspace")
    return Place(made.world, tmp_path / "workspace")


@pytest.fixture
def slow(made: Place) -> Place:
    """A workspace whose shards train for so long that nobody waits for their end."""
    place = Place(made.world, made.world.space(), epochs=100_000)
    config = made.world.config(**place.sections)
    shutil.copytree(made.root, place.root)
    quick = json.loads((place.root / "configuration.json").read_text())
    assert quick["learner"]["epochs"] == 2
    (place.root / "configuration.json").write_text(config.model_dump_json())
    return place


class Process:
    """A command under way, in a process group of its own, and what it said."""

    def __init__(self, folder: Path, *words: str, **environment: str) -> None:
        folder.mkdir(exist_ok=True)
        self.out, self.err = folder / "out", folder / "err"
        line = [sys.executable, "-m", "lmeraser_ray", "queue", *words]
        settings = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        with open(self.out, "w") as out, open(self.err, "w") as err:
            self.popen = subprocess.Popen(
                line, stdout=out, stderr=err, start_new_session=True, env=settings
            )

    def told(self, what: str) -> list[str]:
        """The lines of its log about an event."""
        return [
            line for line in self.err.read_text().splitlines() if f" event={what}" in f"{line} "
        ]

    def until(self, true: Callable[[], object], what: str) -> None:
        """Wait for something, as long as the process lives."""
        end = time.monotonic() + PATIENCE
        while not true():
            assert self.popen.poll() is None, (
                f"it ended while waiting for {what}: {self.err.read_text()}"
            )
            assert time.monotonic() < end, f"waited {PATIENCE} s for {what}: {self.err.read_text()}"
            time.sleep(0.02)

    def control_c(self) -> None:
        """As a terminal sends it: to every process of the group."""
        os.killpg(self.popen.pid, signal.SIGINT)

    def end(self) -> int:
        return self.popen.wait(PATIENCE)


@contextmanager
def queue(folder: Path, *words: object, **environment: str) -> Iterator[Process]:
    """`lmeraser queue WORDS`, killed at the end if it is still there."""
    process = Process(folder, *map(str, words), **environment)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            os.killpg(process.popen.pid, signal.SIGKILL)
        process.popen.wait()


def said(capfd: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """What a command in this process says."""
    capfd.readouterr()
    code = cli.run("queue", [str(word) for word in words])
    return code, *capfd.readouterr()


def test_run_works_off_what_is_there_and_says_what_became_of_it(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    one, two, *_ = place.names()
    first, second, unknown = place.submit(one), place.submit(two), place.submit("nobody knows")
    code, out, err = said(capfd, "run", "--workspace", place.root, "--json")
    assert code == 0
    assert json.loads(out) == {"certified": 2, "refused": 1, "cancelled": 0, "failed": 0, "open": 0}
    lines = err.splitlines()
    for request in (first, second):
        assert [
            line.split(" event=")[1].split()[0] for line in lines if f"request={request}" in line
        ] == [*("planned", "training", "published", "purged", "certified")]
    assert [
        line.split(" event=")[1].split()[0] for line in lines if f"request={unknown}" in line
    ] == ["refused"]
    begun = [line for line in lines if "event=shard-started" in line]
    assert (
        any(first in line for line in begun)
        and any(second in line for line in begun)
        and all(" keys=" in line for line in begun)
    )
    assert "person-" not in err and "nobody knows" not in err
    code, out, err = said(capfd, "run", "--workspace", place.root)
    assert (code, out) == (0, "requests: none came to an end\n")
    place.expect([one, two])


def test_status_and_watch_without_a_terminal_are_one_look(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    made = place.submit(place.names()[0])
    code, out, err = said(capfd, "status", "--workspace", place.root, "--json")
    data = json.loads(out)
    assert (code, err) == (0, "")
    assert data["queue"] == {"live": False, "holder": None, "epoch": 0, "heartbeat_age": None}
    assert data["requests"]["RECEIVED"] == data["open"] == 1
    for what in ("status", "watch"):
        code, out, err = said(capfd, what, "--workspace", place.root)
        assert (code, err) == (0, "")
        assert made in out and "Nobody works on them" in out
        assert re.search(r"in (28|29|30|31) d", out), "a month, which has so many days"


def test_ctrl_c_ends_an_idle_server_and_leaves_the_rest(place: Place, tmp_path: Path) -> None:
    """RequestRepository come from another process while it serves; then Ctrl-C: exit code 0, a
    report, and the lease is free."""
    one, two, *_ = place.names()
    with queue(tmp_path / "serve", "serve", "--workspace", place.root, "--json") as server:
        server.until(lambda: server.told("lease"), "the lease")
        place.submit(one)
        server.until(lambda: place.states() == [State.CERTIFIED], "the certificate")
        server.until(lambda: server.told("certified"), "the line about it")
        server.control_c()
        assert server.end() == 0
        assert json.loads(server.out.read_text())["certified"] == 1
        assert "Ctrl-C again" in server.err.read_text()
    assert not place.standing().live
    place.submit(two)
    assert place.states() == [State.CERTIFIED, State.RECEIVED]


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_at_once(slow: Place, tmp_path: Path, first: signal.Signals) -> None:
    """In the middle of a training that would take minutes: exit code 130, the request is still
    there, and nobody holds the lease."""
    slow.submit(slow.names()[0])
    with queue(tmp_path / "serve", "serve", "--workspace", slow.root) as server:
        server.until(
            lambda: server.told("training") and server.told("shard-started"), "the training"
        )
        server.popen.send_signal(first)
        server.until(lambda: "Ctrl-C again" in server.err.read_text(), "the sentence")
        assert server.popen.poll() is None
        server.popen.send_signal(signal.SIGINT)
        assert server.end() in (
            130,
            -signal.SIGINT,
        )  # which a shell calls 130 too: Python's own end where the signal came into an `exec`
        assert "Traceback" not in server.err.read_text()
    assert slow.states() == [State.TRAINING]
    assert not slow.standing().live


def test_a_server_that_is_killed_is_followed_at_once(
    slow: Place, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """kill -9 in the middle of a training; the next one, in the next epoch, need not wait for the
    lease to run out."""
    slow.submit(slow.names()[0])
    with queue(
        tmp_path / "serve", "serve", "--workspace", slow.root, "--queue.lease", 3600
    ) as server:
        server.until(
            lambda: server.told("training") and server.told("shard-started"), "the training"
        )
        code, out, err = said(capfd, "run", "--workspace", slow.root)
        assert (code, out) == (5, "") and err.startswith("lmeraser: error: Another queue (process ")
        assert err.count("\n") == 1
        server.popen.kill()
        server.end()
    epoch = slow.standing().seen.epoch
    with queue(
        tmp_path / "next", "serve", "--workspace", slow.root, "--queue.lease", 3600
    ) as server:
        server.until(lambda: server.told("lease"), "the lease")
        assert slow.standing().seen.epoch == epoch + 1


def test_a_key_that_is_missing_is_an_error_before_anything_begins(
    place: Place, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place.submit(place.names()[0])
    for what in ("serve", "run"):
        code, out, err = said(capfd, what, "--workspace", place.root, "--keys", tmp_path / "keys")
        assert (code, out) == (2, "") and "is no folder of signing keys" in err
    assert place.states() == [State.RECEIVED]


def test_a_workspace_without_training_is_an_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for what in ("serve", "run", "status", "watch"):
        code, out, err = said(capfd, what, "--workspace", tmp_path / "none")
        assert (code, out) == (2, "") and "is no workspace" in err


@pytest.mark.long
def test_serving_on_a_ray_of_its_own(place: Place, tmp_path: Path) -> None:
    """Nobody waits for a Ray that runs: it is started, works, and is gone with the server, after
    Ctrl-C to the whole group."""
    one, two, *_ = place.names()
    ids = [place.submit(one), place.submit(two)]
    words = (
        "serve",
        "--workspace",
        place.root,
        "--json",
        "--execution.engine",
        "ray",
        "--execution.cpus",
        2,
        "--execution.gpus",
        0,
    )
    environment = {"RAY_AUTH_MODE": "token", "RAY_ADDRESS": ""}
    with queue(tmp_path / "serve", *words, **environment) as server:
        server.until(
            lambda: place.states() == [State.CERTIFIED, State.CERTIFIED], "the certificates"
        )
        server.until(lambda: len(server.told("certified")) == 2, "the lines about them")
        parts = psutil.Process(server.popen.pid).children(recursive=True)
        assert any("raylet" in part.name() for part in parts)
        server.control_c()
        assert server.end() == 0
    assert json.loads(server.out.read_text().splitlines()[-1])["certified"] == 2
    text = server.err.read_text()
    assert (
        all(request in text for request in ids)
        and "person-" not in text
        and "Traceback" not in text
    )
    _, left = psutil.wait_procs(parts, timeout=PATIENCE)
    assert not left
    assert not place.standing().live
    place.expect([one, two])


@pytest.mark.long
def test_a_ray_that_asks_nobody_for_a_token_is_refused(place: Place, tmp_path: Path) -> None:
    """Whoever reaches its ports could run code in it: nothing is done there, and the sentence says
    what to do."""
    place.submit(place.names()[0])
    words = (
        "serve",
        "--workspace",
        place.root,
        "--execution.engine",
        "ray",
        "--execution.cpus",
        1,
        "--execution.gpus",
        0,
    )
    with queue(tmp_path / "serve", *words, RAY_AUTH_MODE="disabled", RAY_ADDRESS="") as server:
        assert server.end() == 2
        last = server.err.read_text().splitlines()[-1]
        assert (
            last.startswith("lmeraser: error: ")
            and "RAY_AUTH_MODE=token" in last
            and "--trusted_network" in last
        )
    assert place.states() == [State.RECEIVED]
