"""A clock that went back: requests from its future are worked off, and their deadlines stand."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
import time_machine

from lmeraser_ray.erasure.queue.intake import waits
from lmeraser_ray.erasure.queue.loop import queue_of
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.times import from_text, utcnow
from tests.support.command_line import Lm, Place

NOW = datetime.fromisoformat("2026-03-10T09:00:00+00:00")


@pytest.mark.parametrize(
    ("ago", "waiting"), [(-1e9, False), (-1, False), (0, True), (59, True), (60, False)]
)
def test_who_waits_for_others(ago: float, waiting: bool) -> None:
    assert waits(NOW - timedelta(seconds=ago), NOW, 60) is waiting
    assert not waits(NOW - timedelta(seconds=ago), NOW, 0)


@pytest.mark.parametrize("days", [1, 4000])
def test_requests_of_the_future_are_worked_off(
    lm: Lm, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    monkeypatch.setenv("LMERASER_KEYS", str(tmp_path / "keys"))
    assert lm("keys", "init").code == 0
    with time_machine.travel(utcnow() + timedelta(days), tick=True):
        said = lm("submit", "--workspace", place.root, "--records", place.id(), "--json")
    due = said.json["deadline"]["due"]
    assert from_text(due) > utcnow() + timedelta(days)
    with queue_of(Session(place.root, overrides=(("queue.window", "60"),)), keys=None) as queue:
        assert queue.busy()
    ended = lm("queue", "run", "--workspace", place.root, "--json")
    assert (ended.code, ended.json["certified"], ended.json["open"]) == (0, 1, 0), ended
    done = lm("status", "--workspace", place.root, said.json["request"], "--json").json
    assert (done["state"], done["deadline"]["due"]) == ("CERTIFIED", due)
    assert lm("audit", "--workspace", place.root).code == 0


def test_unlearn_takes_a_request_of_the_future_along(
    lm: Lm, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMERASER_KEYS", str(tmp_path / "keys"))
    assert lm("keys", "init").code == 0
    first, second = place.id(), place.world.ids[-1]
    with time_machine.travel(utcnow() + timedelta(1), tick=True):
        said = lm("submit", "--workspace", place.root, "--records", first, "--json")
    assert lm("unlearn", "--workspace", place.root, "--records", second).code == 0
    done = lm("status", "--workspace", place.root, said.json["request"], "--json").json
    assert done["state"] == "CERTIFIED"
