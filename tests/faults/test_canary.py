"""The canary: records with unique ids, pictures and pixels go through everything there is, on Ray;
then all that is left is searched.

Searched are the workspace with its database, the signing keys, Ray's session folder (logs, spilled
objects), the home and temporary folders of all processes, shared memory, and what every command
printed. Plainly: whole files, no index, no exception.
"""

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.story import ALONE, SAMPLED, TESTED, Truth, search

pytestmark = pytest.mark.long
SHARED_MEMORY = Path("/dev/shm")
ERASED = (ALONE, SAMPLED, TESTED)
ON_RAY = ("--execution.engine", "ray", "--execution.cpus", "2")
PATIENCE = 240.0


class Machine:
    """A home of its own for every process, and all that they printed."""

    def __init__(self, home: Path) -> None:
        self.home, self.workspace, self._count = home, home / "workspace", 0
        for name in ("tmp", "printed", "config"):
            (home / name).mkdir()
        folders = {
            "HOME": home,
            "TMPDIR": home / "tmp",
            "RAY_TMPDIR": home / "tmp",
            "XDG_CONFIG_HOME": home / "config",
        }
        self.environment = {
            **os.environ,
            **{name: str(path) for name, path in folders.items()},
            "PYTHONUNBUFFERED": "1",
        }

    def start(self, *words: object) -> tuple[subprocess.Popen[bytes], Path]:
        """Start a command on the workspace. Returns it with the file of what it prints."""
        self._count += 1
        printed = self.home / "printed" / f"{self._count}-{words[0]}"
        line = [
            str(Path(sys.executable).with_name("lmeraser")),
            *map(str, words),
            "--workspace",
            str(self.workspace),
        ]
        with open(printed, "wb") as out, open(f"{printed}.err", "wb") as err:
            process = subprocess.Popen(
                line, stdout=out, stderr=err, env=self.environment, cwd=self.home
            )
        return process, printed

    def run(self, *words: object, code: int = 0) -> str:
        """A command to its end. Returns what it printed."""
        process, printed = self.start(*words)
        try:
            assert process.wait(PATIENCE) == code, Path(f"{printed}.err").read_text()
        finally:
            process.kill()
        return printed.read_text()


@pytest.fixture
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="canary-") as name:  # short, for Ray's sockets
        yield Machine(Path(name))


def canaries(truth: Truth, traces: dict[str, bytes], record: int) -> dict[str, bytes]:
    """What must not be found of a record: its id, subject, picture, its decoded pixels (a row of
    them), digests, feature."""
    rows = np.asarray(Image.open(io.BytesIO(truth.world.images[record])).convert("RGB"))
    pixels = {f"pixel row {number}": row.tobytes() for number, row in enumerate(rows)}
    planes = {f"pixel plane {number}": rows[..., number].tobytes() for number in range(3)}
    return {**traces, **pixels, **planes}


def test_nothing_of_the_erased_is_anywhere(
    truth: Truth, traces: dict[str, dict[str, bytes]], machine: Machine, tmp_path: Path
) -> None:
    """Trained on Ray, asked for predictions; three requests by `submit`, one of a subject, one with
    quarantine, through `serve`."""
    world, before = truth.world, set(SHARED_MEMORY.rglob("*"))
    wanted = {
        record: canaries(truth, traces[world.ids[record]], record)
        for record in range(len(world.ids))
    }
    listed, asked, config = (
        tmp_path / "ids.txt",
        tmp_path / "asked.png",
        tmp_path / "config.yaml",
    )  # the caller's own files
    listed.write_text(world.ids[ALONE])
    asked.write_bytes(world.images[ALONE])
    config.write_text(json.dumps(truth.config().model_dump(mode="json")))
    machine.run("train", "--config", config, *ON_RAY)
    assert all(search([machine.workspace], wanted[record]) for record in wanted), (
        "a search that finds nothing shows nothing"
    )
    machine.run("predict", asked)
    assert any((machine.home / "tmp").rglob("session_*/logs/*")), (
        "Ray's session folder is searched too"
    )
    serve, told = machine.start("queue", "serve", *ON_RAY)
    try:
        requests = [
            machine.run("submit", "--file", listed, "--quarantine").strip(),
            machine.run("submit", "--subjects", world.subjects[SAMPLED]).strip(),
            machine.run("submit", "--records", world.ids[TESTED], "--key", "a key").strip(),
        ]
        machine.run("predict", asked)
        machine.run("queue", "status")
        for request in requests:
            for verb in ("wait", "certificate", "status"):
                machine.run(verb, request)
        during = set(SHARED_MEMORY.rglob("*")) - before
        serve.send_signal(signal.SIGINT)
        assert serve.wait(PATIENCE) == 0, Path(f"{told}.err").read_text()
    finally:
        serve.kill()
    for verb in ("audit", "verify", "evaluate"):
        machine.run(verb)
    gone = {
        *ERASED,
        *(i for i, subject in enumerate(world.subjects) if subject == world.subjects[SAMPLED]),
    }
    left = {f"{what} of {world.ids[i]}": text for i in gone for what, text in wanted[i].items()}
    assert search([machine.home], left) == {}
    for path in during | (set(SHARED_MEMORY.rglob("*")) - before):
        with suppress(FileNotFoundError, IsADirectoryError):  # other tests run beside this one
            data = path.read_bytes()
            assert [what for what, text in left.items() if text in data] == [], path
    for record in set(wanted) - gone:
        assert search([machine.workspace], wanted[record]), "the others are where they were"
