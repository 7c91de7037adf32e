"""Bars on a terminal, nothing elsewhere, and the seconds of each stage."""

import io
import re
import time
from types import SimpleNamespace

import pytest

from lmeraser_ray.pipeline import progress as module
from lmeraser_ray.pipeline.progress import Progress
from tests.support.children import wait_until


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that stands."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def terminal_at_stderr(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal of 100 columns. No fixture: pytest replaces stderr between a fixture and its
    test."""
    found = Terminal()
    monkeypatch.setattr("sys.stderr", found)
    for name, value in {"TERM": "xterm", "COLUMNS": "100", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    return found


def shown(terminal: Terminal, since: int = 0) -> list[str]:
    """Every line that was drawn, without the control codes. since: after so many characters."""
    text = terminal.getvalue()[since:].replace("\r", "\n")
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", text).split("\n")


def wait_for(terminal: Terminal, *patterns: str) -> None:
    """Wait until a line of each pattern is drawn anew."""
    since = len(terminal.getvalue())
    wait_until(
        lambda: all(
            any(re.search(pattern, line) for line in shown(terminal, since)) for pattern in patterns
        )
    )


def test_a_bar_has_a_rate_and_a_remaining_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is drawn on stderr alone, lines go above it, and it is gone at its end."""
    terminal, clock = terminal_at_stderr(monkeypatch), Clock()
    monkeypatch.setattr("rich.console.monotonic", clock)
    progress = Progress()
    with progress.bar("training", 1000, "rec") as advance:
        for _ in range(4):
            clock.now += 0.06
            advance(100)
        progress.say("what [comes] next: 1,000")
        print("a result")
        wait_for(terminal, r"training ━+.* 400/1000 1,667 rec/s 0:00:01")
    lines = shown(terminal)
    assert "what [comes] next: 1,000" in lines
    assert terminal.getvalue().endswith("\x1b[2K\x1b[?25h\r"), "the bar's line is erased"
    assert capsys.readouterr().out == "a result\n"


def test_a_bar_within_another_and_one_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_at_stderr(monkeypatch)
    progress = Progress()
    for _ in range(2):
        with progress.bar("outer", 2, "fig") as outer, progress.bar("inner", 5, "rec") as inner:
            inner(5)
            outer(1)
            wait_for(terminal, "inner.*5/5", "outer.*1/2")
    lines = shown(terminal)
    assert sum("inner" in line and "5/5" in line for line in lines) >= 2
    assert sum("outer" in line and "1/2" in line for line in lines) >= 2


@pytest.mark.parametrize("quiet", [True, None])
def test_nothing_is_drawn_without_a_terminal(
    quiet: bool | None, capfd: pytest.CaptureFixture[str]
) -> None:
    progress = Progress(quiet=quiet)
    with progress.bar("training", 10, "rec") as advance:
        progress.say("what comes next")
        advance(10)
    assert capfd.readouterr() == ("", "")


def test_an_error_ends_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_at_stderr(monkeypatch)
    progress = Progress()
    with pytest.raises(ZeroDivisionError), progress.bar("training", 10, "rec"):
        raise ZeroDivisionError
    drawn = len(terminal.getvalue())
    time.sleep(0.3)
    assert len(terminal.getvalue()) == drawn


def test_stages_are_summed_and_not_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    progress, clock = Progress(quiet=True), Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=clock))
    for _ in range(2):
        with progress.stage("outer"):
            clock.now += 0.25
            with progress.stage("inner"):
                clock.now += 4.0
    assert progress.seconds == {"outer": 0.5, "inner": 8.0}
