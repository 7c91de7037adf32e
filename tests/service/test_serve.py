"""`serve` as a whole: one command that predicts, takes requests, works them off, and ends."""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from lmeraser_ray import Workspace
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.requests.events import Event
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.operations.stop_signal import Stop
from lmeraser_ray.service.local import bound
from lmeraser_ray.service.serve import serve
from lmeraser_ray.storage.database.ledger import Seal
from tests.support.world import World, picture

PATIENCE = 120.0
Place = tuple[World, Path, Path]
Started = tuple[World, Workspace, str, "queue.Queue[Event]"]


@pytest.fixture
def started(place: Place) -> Iterator[Started]:
    """A workspace that is served by real processes, at a port that the system chose."""
    world, root, folder = place
    workspace, keys = Workspace(root), KeyFolder(folder)
    stop, events, done = Stop(), queue.Queue[Event](), list[object]()

    def run() -> None:
        done.append(serve(workspace.session, keys=keys, say=events.put, port=0, stop=stop))

    thread = threading.Thread(target=run)
    thread.start()
    yield world, workspace, str(until(events, "serving").facts["url"]), events
    stop.ask()
    thread.join(PATIENCE)
    assert len(done) == 1 and not serving(os.getpid())


def named(workspace: Workspace) -> str:
    """How callers know the published state."""
    return Seal(workspace.session.names()).state(
        workspace.session.folder.require_published().fingerprint
    )


def serving(parent: int) -> list[psutil.Process]:
    """The processes that serve for a process."""
    found = []
    for child in psutil.Process(parent).children():
        with suppress(psutil.NoSuchProcess):  # one that has ended meanwhile
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def until(events: "queue.Queue[Event]", what: str) -> Event:
    """The next event of a kind."""
    while (event := events.get(timeout=PATIENCE)).what != what:
        pass
    return event


def test_one_command_predicts_and_forgets(started: Started) -> None:
    world, workspace, url, _ = started
    token = {"Authorization": f"Bearer {workspace.tokens('make', role='operator').bearer}"}
    with httpx.Client(base_url=url, headers=token, timeout=PATIENCE) as client:
        image = {"image": ("a.png", picture(3))}
        before = client.post("/predict", files=image).json()
        assert before["state"] == named(workspace)
        body = {"subjects": [world.subjects[0]]}
        made = client.post("/erasures", json=body).json()["request"]
        assert str(workspace.wait(made, timeout_s=PATIENCE).state) == "CERTIFIED"
        assert client.get(f"/erasures/{made}/verification").json()["verified"]
        assert (
            client.post("/predict", files=image).json()["state"]
            == named(workspace)
            != before["state"]
        )


def test_a_killed_process_is_started_again_and_no_request_is_refused(started: Started) -> None:
    """What comes meanwhile waits at the socket."""
    _, _, url, events = started
    assert httpx.get(f"{url}/v2/health/ready", timeout=PATIENCE).status_code == 200
    [child] = serving(os.getpid())
    child.kill()
    assert httpx.get(f"{url}/v2/health/ready", timeout=PATIENCE).status_code == 200
    assert "ended (-9)" in str(until(events, "service-restart").facts["error"])


def test_an_address_that_is_taken_is_said(place: Place) -> None:
    _, root, keys = place
    with bound("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ExecutionError, match=f"cannot listen at 127.0.0.1:{port} .*--port"):
            serve(Workspace(root).session, keys=KeyFolder(keys), say=print, port=port)
    for host, port in (("no such host", 0), ("127.0.0.1", 70_000), ("256.1.1.1", 0)):
        with pytest.raises(ExecutionError, match="give another --port or --host"):
            bound(host, port)


@contextmanager
def command(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A process of the command line in a group of its own; it ends with the context."""
    line = [sys.executable, "-m", "lmeraser_ray", *words]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.thorough
def test_ctrl_c_ends_all_of_it(place: Place) -> None:
    """A terminal sends it to every process of the group."""
    _, root, keys = place
    words = ("--workspace", str(root), "--keys", str(keys), "--port", "0")
    with command("serve", *words) as process:
        assert process.stderr
        lines = iter(process.stderr.readline, "")
        note = next(lines)
        assert "no token exists yet: `lmeraser tokens make" in note
        url = next(line for line in lines if "event=serving" in line).split("url=")[1].strip()
        assert httpx.get(f"{url}/v2/health/ready", timeout=PATIENCE).status_code == 200
        family = serving(process.pid)
        assert len(family) == 1
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert "requests: none came to an end" in out
    assert "Traceback" not in err
    assert not psutil.wait_procs(family, timeout=PATIENCE)[1]
