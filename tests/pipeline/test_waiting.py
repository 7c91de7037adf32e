"""What is waited for is said after a while, and then now and then."""

import os
import threading
from types import SimpleNamespace

import pytest

from lmeraser_ray.pipeline import waiting
from lmeraser_ray.pipeline.waiting import Waiting
from tests.support.children import wait_until


class Ears:
    """Hears what is said. soon: the first sentence has come; twice: another one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.soon, self.twice = threading.Event(), threading.Event()

    def hear(self, _: int, text: str) -> None:
        heard = self.twice if self.lines else self.soon
        self.lines.append(text)
        heard.set()


class Clock:
    """A clock that stands, and counts who looks at it."""

    now, looks = 0.0, 0

    def __call__(self) -> float:
        self.looks += 1
        return self.now


@pytest.fixture
def ears(monkeypatch: pytest.MonkeyPatch) -> Ears:
    made = Ears()
    for name, seconds in (("FIRST_S", 0.02), ("THEN_S", 0.02), ("STEP_S", 0.01)):
        monkeypatch.setattr(waiting, name, seconds)
    monkeypatch.setattr(waiting, "say", made.hear)
    return made


def test_what_is_waited_for_is_said(ears: Ears) -> None:
    with Waiting("for a cluster"):
        assert ears.soon.wait(60)
        assert ears.twice.wait(60)
    assert ears.lines[0] == "waiting for a cluster, for 0 s so far"


def test_what_is_said_is_asked_each_time(ears: Ears) -> None:
    free = iter(["one", "two"])
    with Waiting(lambda: f"for {next(free)}"):
        assert ears.twice.wait(60)
    assert [line.partition(",")[0] for line in ears.lines] == ["waiting for one", "waiting for two"]


def test_while_something_comes_nothing_is_said(ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(waiting, "FIRST_S", 5.0)
    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=clock))
    with Waiting("for a record") as made:
        clock.now = 4.0
        made.came()
        clock.now = 8.0
        seen = clock.looks
        wait_until(lambda: clock.looks >= seen + 2)
        assert ears.lines == []
        clock.now = 9.0
        assert ears.soon.wait(60)
    assert ears.lines[0] == "waiting for a record, for 5 s so far"


def test_silence(ears: Ears) -> None:
    with Waiting("for nothing", silent=True) as made:
        assert not made._thread.is_alive()
    assert ears.lines == []


def test_a_terminal_shows_whole_lines() -> None:
    master, slave = os.openpty()
    waiting.say(slave, "waiting for a bar")
    said = b""
    while not said.endswith(b"\n"):  # a terminal may hand a line over in parts
        said += os.read(master, 1000)
    assert said.decode() == "\r\x1b[2Klmeraser: waiting for a bar\r\n"
    os.close(master)
    os.close(slave)
