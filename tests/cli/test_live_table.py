"""What a person sees of the queue: the table in a terminal and as text, the lines of the log, and
how a service is told to stop."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from lmeraser_ray.cli.live_table import bar, lasting, picture, plain
from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.erasure.queue.overview import overview
from lmeraser_ray.erasure.queue.telemetry import RetrainEvents
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.events import Alerts, Event, Follower, Narrator, redacted_message
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.errors import DataError, ExecutionError
from lmeraser_ray.operations.stop_signal import Stop
from lmeraser_ray.pipeline.manifest import MEMBER_STRIDE
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.store import Store

NOW = datetime.now(UTC)
SNAPSHOT = {
    "training": [
        {
            "shard": 3,
            "requests": 2,
            "constituents": 1,
            "share": 0.25,
            "seconds": 10.0,
            "remaining": 30.0,
        },
        {
            "shard": MEMBER_STRIDE + 11,
            "requests": 1,
            "constituents": 1,
            "share": None,
            "seconds": 1.5,
            "remaining": None,
        },
        {
            "shard": None,
            "requests": 4,
            "constituents": 7,
            "share": 0.5,
            "seconds": 60.0,
            "remaining": 60.0,
        },
    ],
    "slots": 4,
    "gpus": 0.25,
    "retrains": 12,
    "saved": 30,
    "superseded": 2,
    "rounds": 1,
    "waiting": 0,
}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    store = Store(tmp_path / "objects")
    store.create()
    with closing(Database.open(tmp_path, None)) as opened:
        yield opened


def requests_of(database: Database, tmp_path: Path, *, now: datetime = NOW) -> RequestRepository:
    return RequestRepository(database, Pseudonymizer(tmp_path, tmp_path), clock=lambda: now)


def some_requests(database: Database, tmp_path: Path) -> list[str]:
    """A fresh one, one in training that is late by half of its time, an overdue one that failed,
    and a certified one."""
    late = requests_of(database, tmp_path, now=NOW - timedelta(days=16)).submit(["late"], [])
    overdue = requests_of(database, tmp_path, now=NOW - timedelta(days=40)).submit(["overdue"], [])
    fresh = requests_of(database, tmp_path).submit(["fresh"], [])
    with database.write() as conn:
        transitions.plan(conn, late.id, (), {})
        transitions.begin_training(conn, [late.id])
        transitions.fail(conn, overdue.id, "Its retrain failed 3 times.")
    return [fresh.id, late.id, overdue.id]


def test_an_overview_is_what_the_database_says(database: Database, tmp_path: Path) -> None:
    fresh, late, overdue = some_requests(database, tmp_path)
    lease = Lease.claim(database, "process 1 on here", timeout_s=10.0)
    lease.heartbeat(SNAPSHOT)
    beat = Lease.look(database).heartbeat_at
    assert beat
    found = overview(database, lease_s=10.0, first=2, now=beat + timedelta(seconds=5))
    assert found.live and found.seen.epoch == 1 and found.heartbeat_age == 5
    assert (
        found.counts[State.RECEIVED],
        found.counts[State.TRAINING],
        found.counts[State.FAILED],
    ) == (1, 1, 1)
    assert found.open == 2
    assert found.alerts == {50: 1, 100: 1}
    assert [waiting.id for waiting in found.first] == [overdue, late]
    assert [waiting.alert for waiting in found.first] == [100, 50]
    assert found.oldest is not None and (NOW - found.oldest).days == 40
    assert found.in_use == 4, "nine constituents, four slots"
    data = json.loads(json.dumps(found.as_json()))
    assert data["alerts"] == {"50": 1, "80": 0, "95": 0, "100": 1}
    assert data["slots"] == {"in_use": 4, "all": 4, "gpus_each": 0.25}
    assert [data[name] for name in ("retrains", "saved", "superseded")] == [12, 30, 2]
    assert fresh not in json.dumps(data)


def test_what_a_dead_queue_showed_last_is_not_shown(database: Database) -> None:
    Lease.claim(database, "process 1 on here", timeout_s=10.0).heartbeat(SNAPSHOT)
    found = overview(database, lease_s=10.0, now=datetime.now(UTC) + timedelta(seconds=11))
    assert not found.live and not found.training and found.in_use == 0
    assert "Nobody works" in plain(found, epochs=None)


def test_the_picture_says_it_all(database: Database, tmp_path: Path) -> None:
    ids = some_requests(database, tmp_path)
    Lease.claim(database, "process 1 on here", timeout_s=10.0).heartbeat(SNAPSHOT)
    found = overview(database, lease_s=10.0, first=10)
    text = plain(found, epochs=8, width=120)
    for word in (
        *ids,
        "process 1 on here, epoch 1, at work",
        " d overdue",
        "2.0 of 8",
        "30 s",
        "all",
        "11 of system 2",
        "4 of 4 slots in use (1 GPU)",
    ):
        assert word in text, word
    assert re.search(r"in (28|29|30|31) d", text), "a month, which has so many days"
    assert "12 retrains, 30 saved by sharing, 2 started over" in text
    assert "by the time that is used up: 1 past 50%, 1 past 100%" in text
    assert max(map(len, text.splitlines())) <= 120
    assert "late" not in text, "no name of a record"


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(database: Database, tmp_path: Path, width: int) -> None:
    """Each request has one line, with its whole id and its state from 50 columns on."""
    ids = some_requests(database, tmp_path)
    end(database, tmp_path)
    lease = Lease.claim(database, "process 1 on a host with a long name", timeout_s=10.0)
    lease.heartbeat(SNAPSHOT)
    lines = plain(overview(database, lease_s=10.0, first=10), epochs=8, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) < 60
    if width >= 50:
        [line] = [line for line in lines if ids[2] in line]
        assert "failed" in line


def test_it_is_readable_without_colours(database: Database, tmp_path: Path) -> None:
    """What is left of the time is said in words and characters; bars differ by their length."""
    some_requests(database, tmp_path)
    found = overview(database, lease_s=10.0, first=10, now=NOW)
    text = plain(found, epochs=None)
    assert re.search(r"(#####-----|######----)  5\d%", text) and "----------   0%" in text
    assert re.search(r"########## 1\d\d%", text) and re.search(r"(9|10|11|12) d overdue", text)
    assert not set(text) & set("━█░")


def end(database: Database, tmp_path: Path) -> str:
    """A request that is cancelled."""
    requests = requests_of(database, tmp_path)
    ended = requests.submit(["ended"], [])
    return requests.cancel(ended.id, "withdrawn").id


def test_what_was_answered_lately_stays(database: Database, tmp_path: Path) -> None:
    ids = [end(database, tmp_path) for _ in range(7)]
    found = overview(database, lease_s=10.0, first=10)
    assert len(found.closed) == 5 and {each.id for each in found.closed} < set(ids)
    text = plain(found, epochs=None)
    assert "answered last" in text and f"{found.closed[0].id}  cancelled" in text
    assert overview(database, lease_s=10.0).closed == ()


@pytest.mark.parametrize(("share", "text"), [(0, "----------   0%"), (0.5, "#####-----  50%")])
def test_a_bar(share: float, text: str) -> None:
    assert bar(share) == text
    assert bar(7.0) == "########## 700%"


def test_the_picture_moves_by_the_clock(database: Database) -> None:
    """Between two looks into the database: the training that had 30 s to go has 10 after 20, and
    never less than none."""
    Lease.claim(database, "process 1 on here", timeout_s=1000.0).heartbeat(SNAPSHOT)
    found = overview(database, lease_s=1000.0)

    def shown(later: float) -> str:
        console = Console(record=True, width=120, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115
        console.print(picture(found, later=later, epochs=8))
        return console.export_text()

    assert "2.0 of 8" in shown(0.0) and "6.0 of 8" in shown(20.0) and "8.0 of 8" in shown(300.0)
    assert "10 s" in shown(20.0)


def test_the_picture_can_be_drawn(database: Database, tmp_path: Path) -> None:
    some_requests(database, tmp_path)
    Lease.claim(database, "process 1 on here", timeout_s=10.0).heartbeat(
        {**SNAPSHOT, "alert": "The disk is full."}
    )
    console = Console(record=True, width=120, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115
    console.print(picture(overview(database, lease_s=10.0, first=10), later=0.0, epochs=8))
    drawn = console.export_svg(title="lmeraser queue watch")
    (tmp_path / "watch.svg").write_text(drawn)
    assert (
        "<svg" in drawn
        and "The last round ended in an error: The disk is full.".replace(" ", "&#160;") in drawn
    )
    if "WATCH_SVG" in os.environ:
        Path(os.environ["WATCH_SVG"]).write_text(drawn)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (9.94, "9.9 s"),
        (59.0, "59 s"),
        (119.0, "119 s"),
        (120.0, "2 min"),
        (7200.0, "2 h"),
        (172800.0, "2 d"),
    ],
)
def test_spans_of_time_are_short(seconds: float, text: str) -> None:
    assert lasting(seconds) == text


def test_lines_have_no_names_and_one_line_each(database: Database, tmp_path: Path) -> None:
    """All that happens to a request is told once, in order; a reason with quotes breaks no line."""
    told: list[Event] = []
    narrator = Narrator(database, told.append)
    made = requests_of(database, tmp_path).submit(['person "1" = 2'], ["person 1"])
    with database.write() as conn:
        transitions.plan(conn, made.id, [transitions.ErasedRecord("0" * 64, 'person "1"')], {})
        transitions.fail(
            conn, made.id, 'Its retrain failed 3 times: a "reason" of two words. Mend that.'
        )
    narrator.look()
    narrator.look()
    assert [event.what for event in told] == ["received", "planned", "failed"]
    assert narrator.closed == {State.FAILED: 1}
    lines = [event.line() for event in told]
    assert all(
        line.startswith("time=20") and f"request={made.id}" in line and "\n" not in line
        for line in lines
    )
    assert "records=1" in lines[
        1
    ] and r"reason=\"Its retrain failed 3 times: a \\\"reason" in json.dumps(lines[2])
    assert not any("person" in line for line in lines)


def test_alerts_are_told_once_each_level(database: Database, tmp_path: Path) -> None:
    made = requests_of(database, tmp_path).submit(["a"], [])
    alerts = Alerts(database)

    def after(share: float, of: ErasureRequest = made) -> list[object]:
        moment = of.received_at + share * (of.deadline - of.received_at) + timedelta(seconds=1)
        return [event.facts["percent"] for event in alerts.new(moment)]

    assert after(0.49) == []
    assert after(0.5) == [50]
    assert after(0.6) == []
    assert after(0.96) == [95], "80 was passed at once"
    longer = requests_of(database, tmp_path).extend(made.id, 2, "many at once")
    assert after(0.97) == [], "an extension makes room"
    assert after(0.8, longer) == [80]
    with database.write() as conn:
        transitions.plan(conn, made.id, (), {})
        transitions.set_published(conn, 1, [made.id])
        transitions.set_purged(conn, made.id, b"{}")
        transitions.move(conn, [made.id], [State.PURGED], State.CERTIFIED, {}, {})
    assert after(1.0, longer) == [], "answered"


def test_a_follower_begins_at_the_end(database: Database, tmp_path: Path) -> None:
    requests_of(database, tmp_path).submit(["a"], [])
    follower = Follower(database)
    assert follower.new() == []
    made = requests_of(database, tmp_path).submit(["b"], [])
    assert [event.request for event in follower.new()] == [made.id]


def test_errors_about_data_are_told_by_their_kind() -> None:
    assert "person" not in redacted_message(DataError("the picture of person-1 is damaged"))
    assert redacted_message(ExecutionError("the disk is full")) == "the disk is full"


def test_lanes_that_begin_end_and_start_over_are_told() -> None:
    told: list[Event] = []
    lanes = RetrainEvents(told.append)
    lanes.look(
        [
            {"shard": 3, "requests": 1, "keys": ["ab"], "of": ["er-1", "er-2"]},
            {"shard": None, "requests": 1},
        ],
        [],
    )
    lanes.look([{"shard": 3, "requests": 2}, {"shard": None, "requests": 1}], [], 1)
    lanes.look([{"shard": 3, "requests": 2}], [ExecutionError("the worker died")], 1)
    lanes.look([{"shard": 3, "requests": 5}], [ExecutionError("the worker died")], 1)
    lanes.look([], [ExecutionError("the worker died")], 1)
    said = [(event.what, event.facts.get("shard"), event.facts.get("requests")) for event in told]
    assert said == [
        ("shard-started", 3, 1),
        ("shard-started", "all", 1),
        ("shard-superseded", 3, 2),
        ("retrain-failed", None, None),
        ("shard-ended", "all", None),
        ("shard-ended", 3, None),
        ("shard-started", 3, 5),
        ("shard-ended", 3, None),
    ]
    assert told[0].line().endswith("event=shard-started shard=3 requests=1 keys=ab of=er-1,er-2")


def test_a_first_signal_asks_and_a_second_one_ends(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Stop("draining").listening() as stop:
        assert not stop.wait(0.0)
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        assert stop.wait(36000.0)
        assert stop.asked and stop.wait(36000.0), "and it stays so"
        assert capfd.readouterr().err == "draining\n"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before


WATCH = """
import sys
from pathlib import Path
from rich.console import Console
from lmeraser_ray.erasure.queue.overview import overview
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.cli.live_table import watch
database = Database.open(Path(sys.argv[1]), None)
console = Console(force_terminal=True, width=100, height=30)
watch(lambda first: overview(database, lease_s=10.0, first=first), console, epochs=8)
print("ended")
"""


def test_a_live_table_ends_with_ctrl_c(database: Database, tmp_path: Path) -> None:
    """In a real terminal (a pseudo one): it draws, it takes note of what changes, and Ctrl-C is no
    error."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", WATCH, str(tmp_path)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""

    def read_until(word: bytes) -> None:
        nonlocal seen
        end = time.monotonic() + 60
        while word not in seen:
            assert time.monotonic() < end, seen[-2000:]
            seen += os.read(ours, 65536)

    try:
        read_until(b"Nobody works")
        made = requests_of(database, tmp_path).submit(["a"], [])
        read_until(made.id.encode())
        child.send_signal(signal.SIGINT)
        read_until(b"ended")
        assert child.wait(60) == 0
    finally:
        child.kill()
        child.wait()
        os.close(ours)
    assert b"Traceback" not in seen
