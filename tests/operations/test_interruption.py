"""Ctrl-C and SIGTERM, from the first import on: one sentence, exit code 130, no traceback."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lmeraser_ray.operations.interruption import SENTENCE, ending_at_once, listen
from tests.support.children import ROOT, Nursery

BOTH = (signal.SIGINT, signal.SIGTERM)


def send(number: int) -> None:
    """A signal that has come when this returns."""
    os.kill(os.getpid(), number)


def while_importing(number: int, folder: str) -> None:
    (Path(folder) / "interrupted_module.py").write_text(
        f"import os\ntry:\n    os.kill(os.getpid(), {number})\nexcept BaseException:\n    pass\n"
    )
    sys.path.insert(0, folder)
    listen()
    __import__("interrupted_module")


def while_ray_connects(number: int, _: str) -> None:
    listen()
    with ending_at_once():
        try:
            send(number)
        except BaseException:
            os._exit(1)


def while_it_is_unwound(number: int, _: str) -> None:
    listen()
    try:
        send(number)
    except KeyboardInterrupt:
        send(number)


def while_a_finalizer_runs(number: int, _: str) -> None:
    """Python prints and drops what is raised there."""

    class Interrupted:
        def __del__(self) -> None:
            send(number)

    listen()
    Interrupted()


def within_ray(number: int, _: str) -> None:
    """As Ray calls the handler that it has put off: without a frame."""
    listen()
    handler = signal.getsignal(number)
    assert callable(handler)
    with ending_at_once():
        handler(number, None)


def with_stderr_closed(number: int, folder: str) -> None:
    os.close(2)
    while_importing(number, folder)


ACTS = (
    while_importing,
    while_ray_connects,
    while_it_is_unwound,
    while_a_finalizer_runs,
    within_ray,
    with_stderr_closed,
)


@pytest.mark.parametrize("number", BOTH, ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
def test_where_no_exception_may_be_raised(
    act: Callable[..., None], number: int, children: Nursery, tmp_path: Path
) -> None:
    done = children.start(heard, act, number, str(tmp_path)).end()
    assert done.code == 130
    assert done.err == ("" if act is with_stderr_closed else f"{SENTENCE}\n")


def heard(act: Callable[..., None], number: int, folder: str) -> None:
    """An act in a process that hears signals, as a terminal's does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    act(number, folder)


def first(number: int) -> str:
    """What the first signal raises in work."""
    heard(lambda *_: listen(), number, "")
    try:
        send(number)
    except KeyboardInterrupt:
        return "KeyboardInterrupt"
    return "nothing"


@pytest.mark.parametrize("number", BOTH, ids=["ctrl-c", "sigterm"])
def test_the_first_signal_is_an_exception(number: int, children: Nursery) -> None:
    assert children.start(first, number).end().value == "KeyboardInterrupt"


def ignored() -> str:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listen()
    send(signal.SIGINT)
    return "goes on"


def test_a_signal_that_the_caller_ignores_stays_ignored(children: Nursery) -> None:
    """As a shell has SIGINT for what runs in the background of a script."""
    assert children.start(ignored).end().value == "goes on"


@pytest.mark.parametrize("number", BOTH, ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("words", [["status"], ["train", "--help"]], ids=" ".join)
def test_a_command_that_has_just_begun(words: list[str], number: int, tmp_path: Path) -> None:
    """Through a real process, in the import of the first large library."""
    (tmp_path / "pydantic.py").write_text(f"import os\nos.kill(os.getpid(), {number})\n")
    done = subprocess.run(
        [sys.executable, "-m", "lmeraser_ray", *words],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"{SENTENCE}\n")
