"""The ways to start a command: the installed script and the modules say the same; and what a
process does whose reader goes away, or which is interrupted."""

import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lmeraser_ray.cli.verbs import VERBS
from tests.support.children import ROOT
from tests.support.command_line import Lm, Place

SCRIPT = Path(sys.executable).parent / "lmeraser"
ONE_SHARD = """
import sys, time

stored = []


def hear(event, arguments):
    if event == "os.rename" and "constituents" in str(arguments[1]):
        stored.append(arguments[1])
        while len(stored) == 2:
            time.sleep(0.01)


sys.addaudithook(hear)
"""
"""Waits, before a second shard is stored, for the end of the process."""


@pytest.mark.parametrize("verb", VERBS)
def test_python_m_is_the_same_as_the_verb(
    verb: str, lm: Lm, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m lmeraser_ray VERB`; of what clusters run, `python -m lmeraser_ray.VERB` too."""
    wanted = lm(verb, "--help")
    entries = [("lmeraser_ray", [verb, "--help"])]
    if verb in ("train", "unlearn", "sweep"):
        entries.append((f"lmeraser_ray.{verb}", ["--help"]))
    for module, words in entries:
        monkeypatch.setattr(sys, "argv", ["-m", *words])
        for name in ("stdout", "stderr"):  # the command replaces them
            monkeypatch.setattr(sys, name, getattr(sys, name))
        monkeypatch.delitem(sys.modules, module, raising=False)
        with pytest.raises(SystemExit) as stop:
            runpy.run_module(module, run_name="__main__")
        sys.stdout.flush()  # as the end of a process does
        assert (stop.value.code, capfd.readouterr().out) == (0, wanted.out)


def command(*words: object) -> list[str]:
    return [str(word) for word in words]


class TestProcesses:
    """Through real processes: the installed script, the module, and signals."""

    def test_the_script_and_the_module_say_the_same(self, made: Place) -> None:
        words = ["--workspace", made.root, "--json"]
        script = subprocess.run(
            command(SCRIPT, "evaluate", *words), capture_output=True, text=True, check=False
        )
        module = subprocess.run(
            command(sys.executable, "-m", "lmeraser_ray", "evaluate", *words),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (script.returncode, script.stderr) == (module.returncode, module.stderr) == (0, "")
        said = [json.loads(found.stdout.splitlines()[-1]) for found in (script, module)]
        assert all(each.pop("seconds") for each in said)
        assert said[0] == said[1]
        assert said[0]["accuracy"]["train"] is not None

    def test_a_reader_that_goes_away(self, made: Place) -> None:
        """`lmeraser train --print_config | head -0` ends quietly."""
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as gone:
            done = subprocess.run(
                command(SCRIPT, "train", "--print_config"),
                stdout=gone,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.stderr == ""
        assert done.returncode in (0, 141)

    def test_ctrl_c_and_the_same_command_again(self, made: Place, tmp_path: Path, lm: Lm) -> None:
        """Interrupted when the first shard was stored: exit code 130, and the same command reuses
        that shard and all features."""
        words = ["train", "--config", made.config, "--workspace", tmp_path / "w", "--json"]
        (tmp_path / "sitecustomize.py").write_text(ONE_SHARD)
        # A shell that runs the tests in the background has SIGINT ignored, and children inherit
        # that: as a terminal has it.
        heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
        process = subprocess.Popen(
            command(SCRIPT, *words),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
            **heard,
        )
        finished = tmp_path / "w" / "objects" / "constituents"
        for _ in until_there(process, lambda: finished.is_dir() and any(finished.iterdir())):
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        assert process.returncode in (130, -signal.SIGINT), err  # which a shell calls 130 too
        assert out == ""
        assert err.count("\n") == 1
        assert "run the same command again" in err
        assert len(list(finished.iterdir())) == 1
        assert not (tmp_path / "w" / "CURRENT").exists()
        again = lm(*words).json
        assert (again["reused"], again["trained"], again["features_computed"]) == (1, 3, 0)
        other = [tmp_path / "other" if word == tmp_path / "w" else word for word in words]
        assert lm(*other).json["fingerprint"] == again["fingerprint"]


def until_there(process: subprocess.Popen[str], there: Callable[[], bool]) -> Iterator[None]:
    """Wait for a sign of a process; an error where it ends without giving one."""
    while not there():
        try:
            process.wait(0.01)
        except subprocess.TimeoutExpired:
            yield
        else:
            raise AssertionError(process.communicate())
