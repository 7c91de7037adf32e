"""The statement of an erasure: its bytes are a function of the facts, it says all that it must, and
no name gets in."""

import json
import re
import tarfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from lmeraser_ray import __version__
from lmeraser_ray.erasure.absence.inventory import DATA_INVENTORY
from lmeraser_ray.erasure.certificate.keystore import read_public_key
from lmeraser_ray.erasure.certificate.limitations import BACKUPS, TRANSIENT, sentences_of
from lmeraser_ray.erasure.certificate.statement import (
    AcceptedFinding,
    ChoiceCount,
    Code,
    DeadlineCheck,
    ErasedHashes,
    ErasedTarget,
    ExecutionKind,
    StateChange,
    Statement,
    code_digest,
    read_statement,
    statement_of,
)
from lmeraser_ray.erasure.certificate.verifier import check_certificate
from lmeraser_ray.erasure.circumstances import Circumstances
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.digests import canonical_json
from tests.support.statements import SCAN, STATEMENT, digit

EXTENDED = replace(
    STATEMENT,
    request=replace(STATEMENT.request, extended="2026-04-30T12:00:00.000000Z"),
    reclustered=True,
    transient=sentences_of(TRANSIENT, Circumstances("ray", "postgresql")),
    backups=sentences_of(BACKUPS, Circumstances("ray", "postgresql")),
    execution=ExecutionKind("ray", "postgresql"),
    numerics=({"torch": "2.5"}, {"device": "cpu", "torch": "2.4"}, {"torch": "2.5"}),
    times=replace(STATEMENT.times, planned=None, training=None),
    choice=ChoiceCount(3, 4),
)
FINDING = AcceptedFinding("logs", "id", "a.log", "2026-02-01T12:00:00.000000Z", digit("e"))
FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.mark.parametrize(
    ("statement", "file"),
    [(STATEMENT, "statement.json"), (EXTENDED, "statement-extended.json")],
    ids=["plain", "extended"],
)
def test_the_bytes_are_those_of_version_0_4_0(statement: Statement, file: str) -> None:
    """The files were written by version 0.4.0 for the same facts; its sentences are among them."""
    kept = (FIXTURES / file).read_bytes()
    said = json.loads(kept)["predicate"]
    sentences = {name: tuple(said[name]) for name in ("transient", "backups")}
    same = replace(statement, scan=said["scan"], version=1, **sentences)
    assert statement_of(same) == kept
    assert read_statement(kept) == same


def test_a_certificate_of_version_0_4_0_verifies(tmp_path: Path) -> None:
    with tarfile.open(FIXTURES / "workspace-0.4.0.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    facts = json.loads((tmp_path / "facts.json").read_text())
    session = Session(tmp_path / "workspace")
    with session.database() as database:
        request = RequestRepository(database, session.names()).get(facts["certified"])
    assert request.envelope and request.statement
    [pem] = (tmp_path / "keys" / "public").glob("*.pem")
    found = check_certificate(request.envelope, dict([read_public_key(pem)]))
    assert found.statement.request.id == facts["certified"]
    assert found.statement.state == StateChange(facts["before"], facts["after"])
    assert statement_of(found.statement) == request.statement


def predicate(statement: Statement) -> dict[str, Any]:
    """The predicate in a statement's bytes."""
    said: dict[str, Any] = json.loads(statement_of(statement))["predicate"]
    return said


def test_it_is_an_in_toto_statement_about_the_state_after() -> None:
    whole = json.loads(statement_of(STATEMENT))
    assert set(whole) == {"_type", "subject", "predicateType", "predicate"}
    assert whole["_type"] == "https://in-toto.io/Statement/v1"
    assert whole["predicateType"] == "urn:lmeraser-ray:erasure:2"
    assert whole["subject"] == [{"name": "workspace", "digest": {"hmac-sha256": digit("2")}}]
    assert canonical_json(whole) == statement_of(STATEMENT)


def test_it_says_everything() -> None:
    said = predicate(STATEMENT)
    del said["transient"], said["backups"]
    assert said == {
        "request": {
            "id": STATEMENT.request.id,
            "received": STATEMENT.times.received,
            "due": STATEMENT.request.due,
            "extended": None,
        },
        "deadline": {"due": STATEMENT.request.due, "met": True},
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
        "scan": SCAN,
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
    erased, constituents = STATEMENT.erased, STATEMENT.constituents
    statement = replace(STATEMENT, numerics=two)
    other = replace(
        statement,
        erased=ErasedHashes(erased.targets[::-1], erased.records[::-1]),
        constituents=replace(constituents, rebuilt=constituents.rebuilt[::-1]),
        numerics=(*two[::-1], *two),
    )
    assert statement_of(other) == statement_of(statement)


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
    said = replace(
        STATEMENT,
        request=replace(STATEMENT.request, extended=extended),
        times=replace(STATEMENT.times, purged=purged),
    )
    due = extended or STATEMENT.request.due
    assert predicate(said)["deadline"] == {"due": due, "met": met}
    assert said.deadline == DeadlineCheck(due, met)


@pytest.mark.parametrize(
    "put",
    [
        lambda: ErasedHashes((), ("person-1/a.png",)),
        lambda: ErasedTarget("record", "7654321-person-1", "removed"),
        lambda: ErasedTarget("record", f"{digit('a')}\nperson-1", "removed"),
        lambda: StateChange("", digit("2")),
        lambda: replace(STATEMENT.state, after="person-1"),
    ],
)
def test_no_name_gets_in(put: Callable[[], object]) -> None:
    """A place that is for a keyed hash takes nothing else, and the error does not repeat it."""
    with pytest.raises(ValueError, match="64 hexadecimal digits") as caught:
        put()
    assert "person" not in str(caught.value)


def test_what_is_not_reached_depends_on_where_it_ran() -> None:
    """Plasma and spill where Ray ran, the write-ahead log where PostgreSQL is, and always the
    rest."""
    for engine in ("inline", "ray"):
        for dialect in ("sqlite", "postgresql"):
            where = Circumstances(engine, dialect)
            sentences, copies = sentences_of(TRANSIENT, where), sentences_of(BACKUPS, where)
            transient, backups = "\n".join(sentences), "\n".join(copies)
            assert (
                "logically deleted: neither Clear nor Purge in the sense of NIST SP 800-88"
                in transient
            )
            for word in ("page cache", "Memory of the processes", "swap"):
                assert word in transient
            for word in ("Backups", "Snapshots of the file system", "art. 19"):
                assert word in backups
            for word in ("plasma", "spilled"):
                assert (word in transient) == (engine == "ray")
            assert ("secure_delete" in transient) == (dialect == "sqlite")
            assert (
                ("write-ahead log (WAL)" in transient)
                == ("write-ahead logs" in backups)
                == (dialect == "postgresql")
            )
            for sentence in sentences + copies:
                assert re.fullmatch(r"[A-Z].*\.", sentence)


def test_what_does_not_apply_to_a_workspace_is_not_listed() -> None:
    """Blocks of a medium and snapshots where the workspace is on a disk, versions and replicas
    where it is in a bucket; Ray's folder, downloads and buckets where there are any."""
    disk = Circumstances("inline", "sqlite")
    cloud = Circumstances("ray", "postgresql", in_object_storage=True, fetched=True)
    for where, there, absent in (
        (disk, ("blocks of the medium", "Snapshots"), ("versioned bucket", "Objects")),
        (cloud, ("versioned bucket", "Objects"), ("blocks of the medium", "Snapshots")),
    ):
        text = "\n".join(sentences_of((*TRANSIENT, *BACKUPS), where))
        assert [word for word in there if word not in text] == []
        assert [word for word in absent if word in text] == []
    every = {place.name for place in DATA_INVENTORY}
    assert every - {place.name for place in DATA_INVENTORY if disk.holds(place.only)} == {
        "Ray's session folder",
        "demonstration",
        "downloads",
        "what object storage keeps besides a workspace's objects",
    }
    assert every - {place.name for place in DATA_INVENTORY if cloud.holds(place.only)} == {
        "demonstration"
    }


def test_it_is_read_back() -> None:
    accepted = replace(STATEMENT, exceptions=(FINDING, replace(FINDING, place="a place before")))
    for statement in (STATEMENT, EXTENDED, accepted, replace(EXTENDED, version=1)):
        assert read_statement(statement_of(statement)) == statement
    assert [one["place"] for one in predicate(accepted)["exceptions"]] == ["a place before", "logs"]


def test_anything_else_is_refused() -> None:
    """Other JSON, other encodings, another version's predicate, a subject that is not the state
    after, fields that are missing, too many, of another type, or in contradiction."""
    whole = json.loads(statement_of(STATEMENT))
    other = {"name": "workspace", "digest": {"hmac-sha256": digit("3")}}
    plain = {"name": "workspace", "digest": {"sha256": digit("2")}}
    said: dict[str, Any] = whole["predicate"]
    changes: list[dict[str, Any]] = [
        {"more": 1},
        {"choice": None},
        {"exceptions": []},
        {"exceptions": [{**asdict(FINDING), "reason": "since I say so"}]},
        {"exceptions": [asdict(FINDING), asdict(replace(FINDING, place="a place before"))]},
        {"version": 2},
        {"passes": "1200"},
        {"passes": 1200.5},
        {"reclustered": 0},
        {"request": {**said["request"], "more": 1}},
        {"request": {**said["request"], "due": "tomorrow"}},
        {"deadline": {**said["deadline"], "met": False}},
        {"erased": {**said["erased"], "records": [digit("d"), digit("c")]}},
        {"erased": {**said["erased"], "records": ["person-1"]}},
        {"purged": 7},
    ]
    for bad in (
        b"",
        b"[]",
        b"[" * 100_000,
        json.dumps(whole).encode(),
        canonical_json({**whole, "predicateType": "urn:lmeraser-ray:erasure:3"}),
        canonical_json({**whole, "_type": "https://in-toto.io/Statement/v0.1"}),
        canonical_json({**whole, "subject": [other]}),
        canonical_json({**whole, "subject": [plain]}),
        canonical_json({**whole, "predicateType": "urn:lmeraser-ray:erasure:1"}),
        canonical_json({**whole, "predicateType": ["urn:lmeraser-ray:erasure:2"]}),
        statement_of(replace(STATEMENT, version=1, exceptions=(FINDING,))),
        canonical_json({**whole, "subject": [other, other]}),
        canonical_json({**whole, "predicate": {}}),
        canonical_json({**whole, "more": 1}),
        *(canonical_json({**whole, "predicate": {**said, **change}}) for change in changes),
        *(
            canonical_json({**whole, "predicate": {k: v for k, v in said.items() if k != name}})
            for name in said
        ),
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
