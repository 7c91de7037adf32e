"""The statement of an erasure: its bytes are a function of the facts, it says all that it must, and
no name gets in."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmeraser_ray import __version__
from lmeraser_ray.erasure.absence.report import ScanReport, Searched
from lmeraser_ray.erasure.certificate.statement import (
    Code,
    ErasedTarget,
    ErasureFacts,
    Times,
    code_digest,
    read_statement,
    statement_of,
)
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.digests import canonical_json


def digit(text: str) -> str:
    """64 hexadecimal digits."""
    return text * 64


SCAN = ScanReport(
    2,
    (Searched("records", "parsed", 40, 12345), Searched("the pointer", "raw", 1, 130)),
    (),
    0,
    0,
    {},
)
FACTS = ErasureFacts(
    request="er-20260131-0123456789abcdef",
    due="2026-02-28T12:00:00.000000Z",
    extended=None,
    targets=(
        ErasedTarget("subject", digit("b"), "removed"),
        ErasedTarget("record", digit("a"), "already"),
    ),
    records=(digit("d"), digit("c")),
    before=digit("1"),
    after=digit("2"),
    rebuilt=("k2", "k1"),
    reused=18,
    reused_digest=digit("5"),
    reclustered=False,
    passes=1200,
    purged=7,
    scan=SCAN.as_json(),
    engine="inline",
    dialect="sqlite",
    code=Code("0.3.0", digit("6")),
    configuration={"seed": 3, "learner": {"rate": 0.1}},
    backbone=digit("7"),
    seed=3,
    numerics=({"torch": "2.4", "device": "cpu"},),
    times=Times(
        received="2026-01-31T12:00:00.000000Z",
        planned="2026-01-31T12:00:01.000000Z",
        training="2026-01-31T12:00:02.000000Z",
        published="2026-01-31T12:00:03.000000Z",
        purged="2026-01-31T12:00:04.000000Z",
    ),
    ledger_seq=9,
    ledger_hash=digit("8"),
)


def predicate(facts: ErasureFacts) -> dict[str, Any]:
    """What the statement of some facts says."""
    said: dict[str, Any] = json.loads(statement_of(facts))["predicate"]
    return said


def test_it_is_an_in_toto_statement_about_the_state_after() -> None:
    whole = json.loads(statement_of(FACTS))
    assert set(whole) == {"_type", "subject", "predicateType", "predicate"}
    assert whole["_type"] == "https://in-toto.io/Statement/v1"
    assert whole["predicateType"] == "urn:lmeraser-ray:erasure:1"
    assert whole["subject"] == [{"name": "workspace", "digest": {"sha256": digit("2")}}]
    assert canonical_json(whole) == statement_of(FACTS)


def test_it_says_everything() -> None:
    said = predicate(FACTS)
    del said["transient"], said["backups"]
    assert said == {
        "request": {
            "id": FACTS.request,
            "received": FACTS.times.received,
            "due": FACTS.due,
            "extended": None,
        },
        "deadline": {"due": FACTS.due, "met": True},
        "erased": {
            "targets": [
                {"what": "record", "hash": digit("a"), "outcome": "already"},
                {"what": "subject", "hash": digit("b"), "outcome": "removed"},
            ],
            "records": [digit("c"), digit("d")],
        },
        "state": {"before": digit("1"), "after": digit("2")},
        "constituents": {"rebuilt": ["k1", "k2"], "reused": 18, "reused_digest": digit("5")},
        "reclustered": False,
        "passes": 1200,
        "purged": {"files": 7},
        "scan": SCAN.as_json(),
        "execution": {"engine": "inline", "database": "sqlite"},
        "code": {"version": "0.3.0", "sha256": digit("6")},
        "configuration": {"seed": 3, "learner": {"rate": 0.1}},
        "backbone": digit("7"),
        "seed": 3,
        "numerics": [{"torch": "2.4", "device": "cpu"}],
        "times": {
            "received": "2026-01-31T12:00:00.000000Z",
            "planned": "2026-01-31T12:00:01.000000Z",
            "training": "2026-01-31T12:00:02.000000Z",
            "published": "2026-01-31T12:00:03.000000Z",
            "purged": "2026-01-31T12:00:04.000000Z",
        },
        "ledger": {"seq": 9, "hash": digit("8")},
    }


def test_the_order_in_which_sets_come_is_not_in_it() -> None:
    two = ({"device": "cpu", "torch": "2.4"}, {"torch": "2.5"})
    facts = replace(FACTS, numerics=two)
    other = replace(
        facts,
        targets=FACTS.targets[::-1],
        records=FACTS.records[::-1],
        rebuilt=FACTS.rebuilt[::-1],
        numerics=(*two[::-1], *two),
    )
    assert statement_of(other) == statement_of(facts)


@pytest.mark.parametrize(
    ("purged", "extended", "met"),
    [
        ("2026-02-28T12:00:00.000000Z", None, True),
        ("2026-02-28T12:00:00.000001Z", None, False),
        ("2026-02-28T12:00:00.000001Z", "2026-04-30T12:00:00.000000Z", True),
        ("2026-04-30T12:00:00.000001Z", "2026-04-30T12:00:00.000000Z", False),
    ],
)
def test_whether_the_deadline_was_met(purged: str, extended: str | None, met: bool) -> None:
    """To the microsecond, and the extension's where there is one."""
    said = predicate(replace(FACTS, extended=extended, times=replace(FACTS.times, purged=purged)))
    assert said["deadline"] == {"due": extended or FACTS.due, "met": met}


def test_no_name_gets_in() -> None:
    """A place that is for a keyed hash takes nothing else."""
    for change in (
        {"records": ("person-1/a.png",)},
        {"targets": (ErasedTarget("record", "7654321", "removed"),)},
        {"targets": (ErasedTarget("record", digit("a") + "\n", "removed"),)},
        {"after": ""},
    ):
        with pytest.raises(ValueError, match="64 hexadecimal digits"):
            replace(FACTS, **change)


def test_what_is_not_reached_depends_on_where_it_ran() -> None:
    """Plasma and spill where Ray ran, the write-ahead log where PostgreSQL is, and always the
    rest."""
    for engine in ("inline", "ray"):
        for dialect in ("sqlite", "postgresql"):
            said = predicate(replace(FACTS, engine=engine, dialect=dialect))
            transient, backups = "\n".join(said["transient"]), "\n".join(said["backups"])
            assert (
                "logically deleted: neither Clear nor Purge in the sense of NIST SP 800-88"
                in transient
            )
            for word in ("page cache", "Memory of the processes", "swap"):
                assert word in transient
            for word in ("Backups", "versioned bucket", "Snapshots of the file system", "art. 19"):
                assert word in backups
            for word in ("plasma", "spilled"):
                assert (word in transient) == (engine == "ray")
            assert ("secure_delete" in transient) == (dialect == "sqlite")
            assert (
                ("write-ahead log (WAL)" in transient)
                == ("write-ahead logs" in backups)
                == (dialect == "postgresql")
            )
            for sentence in said["transient"] + said["backups"]:
                assert re.fullmatch(r"[A-Z].*\.", sentence)


def test_it_is_read_back() -> None:
    read = read_statement(statement_of(FACTS))
    assert read.predicate == predicate(FACTS)
    assert set(read.targets) == set(FACTS.targets)
    assert set(read.records) == set(FACTS.records)
    assert (read.request, read.received, read.due, read.extended) == (
        FACTS.request,
        FACTS.times.received,
        FACTS.due,
        None,
    )
    assert (read.deadline, read.met, read.purged_at) == (FACTS.due, True, FACTS.times.purged)
    assert (read.before, read.after, read.ledger_seq, read.ledger_hash) == (
        digit("1"),
        digit("2"),
        9,
        digit("8"),
    )


def test_anything_else_is_refused() -> None:
    """Other JSON, other encodings, another version's predicate, a subject that is not the state
    after."""
    whole = json.loads(statement_of(FACTS))
    other = {"name": "workspace", "digest": {"sha256": digit("3")}}
    for bad in (
        b"",
        b"[]",
        b"[" * 100_000,
        json.dumps(whole).encode(),
        canonical_json({**whole, "predicateType": "urn:lmeraser-ray:erasure:2"}),
        canonical_json({**whole, "_type": "https://in-toto.io/Statement/v0.1"}),
        canonical_json({**whole, "subject": [other]}),
        canonical_json({**whole, "subject": [other, other]}),
        canonical_json({**whole, "predicate": {}}),
    ):
        with pytest.raises(VerificationError, match="use the version that wrote it"):
            read_statement(bad)


def test_the_code_digest_is_over_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "a.py").write_text("1")
    (tmp_path / "part" / "b.yaml").write_text("2")
    seen = [code_digest(tmp_path)]
    (tmp_path / "a.pyc").write_text("compiled")
    (tmp_path / "notes.txt").write_text("notes")
    assert code_digest(tmp_path) == seen[0]
    (tmp_path / "a.py").write_text("1 ")
    seen.append(code_digest(tmp_path))
    (tmp_path / "a.py").write_text("1")
    (tmp_path / "part" / "b.yaml").rename(tmp_path / "part" / "c.yaml")
    seen.append(code_digest(tmp_path))
    (tmp_path / "d.py").write_text("")
    seen.append(code_digest(tmp_path))
    assert len(set(seen)) == 4


def test_the_running_code() -> None:
    assert Code.running() == Code(__version__, code_digest())
    assert re.fullmatch("[0-9a-f]{64}", code_digest())
