"""The statement of an erasure: what a certificate says, as the bytes that are frozen in the
database and signed later.

    facts of a purged request (queue) → `statement_of` → canonical bytes → signed (certify) → `read_statement` (verify, audit)

It is an in-toto Statement v1 (https://github.com/in-toto/attestation, spec/v1) about the workspace,
whose digest is the fingerprint after the erasure. Invariants: the bytes are a function of the
facts; of a person there are keyed hashes only, which say nothing without the workspace's secret;
what an erasure cannot reach (memory, media, backups) is said, never claimed.
"""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import lmeraser_ray
from lmeraser_ray.erasure.certificate.limitations import backup_sentences, transient_sentences
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.digests import canonical_json, key_of
from lmeraser_ray.storage.times import from_text

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:lmeraser-ray:erasure:1"
SHA256 = re.compile(r"[0-9a-f]{64}")
What = Literal["record", "subject"]


@dataclass(frozen=True)
class Code:
    """The program that erased: its version, and the SHA-256 over its files (`code_digest`)."""

    version: str
    sha256: str

    @classmethod
    @cache
    def running(cls) -> "Code":
        """This program, as its files are when it is first asked."""
        return cls(lmeraser_ray.__version__, code_digest())


@dataclass(frozen=True)
class ErasedTarget:
    """What the request named, as its keyed hash, and what came of it: removed, already (erased
    before) or unknown."""

    what: What
    hash: str
    outcome: str


@dataclass(frozen=True)
class Times:
    """When a request came to each state: UTC, ISO 8601. planned and training are None where there
    was nothing to plan or to train."""

    received: str
    planned: str | None
    training: str | None
    published: str
    purged: str


@dataclass(frozen=True)
class ErasureFacts:
    """All that the statement of one request says.

    due: a month from receipt; extended: the later moment in its place, None where the request was
    not extended. before, after: fingerprints of the published states. rebuilt: keys of the
    constituents that were trained; reused: how many were not, `reused_digest` over their keys.
    passes: records times epochs trained. purged: files removed. scan: the absence scan's report as
    JSON. configuration: the identity in the manifest, backbone its weights' identity; numerics:
    each one that a constituent was trained under. engine: `inline` or `ray`; dialect: of the
    request database. ledger_seq, ledger_hash: the ledger's head when the bytes were frozen. seen:
    where a sweep chose the configuration, how many it saw of the records that left with these
    publications, and how many these are.
    """

    request: str
    due: str
    extended: str | None
    targets: tuple[ErasedTarget, ...]
    records: tuple[str, ...]
    before: str
    after: str
    rebuilt: tuple[str, ...]
    reused: int
    reused_digest: str
    reclustered: bool
    passes: int
    purged: int
    scan: dict[str, Any]
    engine: str
    dialect: str
    code: Code
    configuration: dict[str, Any]
    backbone: str
    seed: int
    numerics: tuple[dict[str, Any], ...]
    times: Times
    ledger_seq: int
    ledger_hash: str
    seen: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        hashes = [*self.records, *(target.hash for target in self.targets)]
        if not all(
            SHA256.fullmatch(text) for text in (*hashes, self.before, self.after)
        ):  # a name must not get into a certificate
            raise ValueError(
                "Records, targets and states are 64 hexadecimal digits each in a statement."
            )

    @property
    def deadline(self) -> str:
        """When the erasure had to be done: the extension's moment, where there is one."""
        return self.extended or self.due

    @property
    def met(self) -> bool:
        """Whether the erasure was done, purged and scanned, by then."""
        return from_text(self.times.purged) <= from_text(self.deadline)


def statement_of(facts: ErasureFacts) -> bytes:
    """The statement's bytes, canonical (RFC 8785); sets are sorted, so that only the facts decide
    them."""
    times = facts.times
    targets = sorted((target.what, target.hash, target.outcome) for target in facts.targets)
    choice = {"choice": dict(zip(("seen", "of"), facts.seen, strict=True))} if facts.seen else {}
    predicate = {
        **choice,
        "request": {
            "id": facts.request,
            "received": times.received,
            "due": facts.due,
            "extended": facts.extended,
        },
        "deadline": {"due": facts.deadline, "met": facts.met},
        "erased": {
            "targets": [
                {"what": what, "hash": text, "outcome": outcome} for what, text, outcome in targets
            ],
            "records": sorted(facts.records),
        },
        "state": {"before": facts.before, "after": facts.after},
        "constituents": {
            "rebuilt": sorted(facts.rebuilt),
            "reused": facts.reused,
            "reused_digest": facts.reused_digest,
        },
        "reclustered": facts.reclustered,
        "passes": facts.passes,
        "purged": {"files": facts.purged},
        "scan": facts.scan,
        "transient": transient_sentences(engine=facts.engine, dialect=facts.dialect),
        "backups": backup_sentences(dialect=facts.dialect),
        "execution": {"engine": facts.engine, "database": facts.dialect},
        "code": {"version": facts.code.version, "sha256": facts.code.sha256},
        "configuration": facts.configuration,
        "backbone": facts.backbone,
        "seed": facts.seed,
        "numerics": [
            json.loads(text) for text in sorted({canonical_json(each) for each in facts.numerics})
        ],
        "times": {
            "received": times.received,
            "planned": times.planned,
            "training": times.training,
            "published": times.published,
            "purged": times.purged,
        },
        "ledger": {"seq": facts.ledger_seq, "hash": facts.ledger_hash},
    }
    subject = {"name": "workspace", "digest": {"sha256": facts.after}}
    return canonical_json(
        {
            "_type": STATEMENT,
            "subject": [subject],
            "predicateType": PREDICATE,
            "predicate": predicate,
        }
    )


def code_digest(root: Path | None = None) -> str:
    """SHA-256 over the package's .py and .yaml files: their names in order, each with its bytes.
    root: the package's folder."""
    folder = root or Path(lmeraser_ray.__file__).parent
    files = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.suffix in (".py", ".yaml")
    }
    return key_of(
        "code",
        *(part for name in sorted(files) for part in (name.encode(), files[name].read_bytes())),
    )


@dataclass(frozen=True)
class Statement:
    """A statement that was read. `whole` is all of it as JSON; the other fields are what is
    compared and shown."""

    whole: dict[str, Any]
    request: str
    received: str
    due: str
    extended: str | None
    deadline: str
    met: bool
    targets: tuple[ErasedTarget, ...]
    records: tuple[str, ...]
    before: str
    after: str
    purged_at: str
    ledger_seq: int
    ledger_hash: str

    @property
    def predicate(self) -> dict[str, Any]:
        """What is said of the erasure."""
        found: dict[str, Any] = self.whole["predicate"]
        return found


def read_statement(payload: bytes) -> Statement:
    """Read what `statement_of` wrote. Errors: `VerificationError` on anything else, another
    version's statement included."""
    try:
        whole = json.loads(payload)
        same = canonical_json(whole) == payload
        kinds = (whole["_type"], whole["predicateType"])
        said, [subject] = whole["predicate"], whole["subject"]
        request, state, ledger = said["request"], said["state"], said["ledger"]
        found = Statement(
            whole,
            request["id"],
            request["received"],
            request["due"],
            request["extended"],
            said["deadline"]["due"],
            said["deadline"]["met"],
            tuple(
                ErasedTarget(entry["what"], entry["hash"], entry["outcome"])
                for entry in said["erased"]["targets"]
            ),
            tuple(said["erased"]["records"]),
            state["before"],
            state["after"],
            said["times"]["purged"],
            ledger["seq"],
            ledger["hash"],
        )
        named = (subject["name"], subject["digest"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise VerificationError(
            "This is no statement of an erasure that this version reads: use the version that "
            "wrote it."
        ) from error
    if (
        not same
        or kinds != (STATEMENT, PREDICATE)
        or named != ("workspace", {"sha256": found.after})
    ):
        raise VerificationError(
            f"The statement is of kind {kinds[1]!r} and not as {PREDICATE} has it: use the "
            "version that wrote it."
        )
    return found
