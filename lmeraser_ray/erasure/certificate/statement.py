"""The statement of an erasure: what a certificate says.

    Statement ──► statement_of ──► canonical bytes, frozen in the database ──► signed
    Statement ◄── read_statement ◄── the same bytes, from a certificate

It is an in-toto Statement v1 (https://github.com/in-toto/attestation, spec/v1) about the workspace,
whose digest is the fingerprint after the erasure; its predicate is the class `Statement`, which
declares every field once. Invariants: the bytes are a function of the fields, and there is one
encoding of them (RFC 8785; sets are sorted), so that reading and writing again gives the same
bytes; of a person there are only keyed hashes, which say nothing without the workspace's secret;
what an erasure cannot reach (memory, media, backups) is listed as a limitation.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, TypeAdapter, computed_field
from pydantic.dataclasses import dataclass

import lmeraser_ray
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.database.ledger import LedgerHead
from lmeraser_ray.storage.database.pseudonyms import TargetKind
from lmeraser_ray.storage.digests import canonical_json, key_of
from lmeraser_ray.storage.times import from_text

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:lmeraser-ray:erasure:1"
SHA256 = re.compile(r"[0-9a-f]{64}")
PLAIN = ConfigDict(strict=True, hide_input_in_errors=True)
"""Fields are not converted, and an error does not repeat what was given, which may be an id."""


def require_hash(text: str) -> str:
    """Return `text`. Errors: `ValueError` where it is no SHA-256, so that no id gets in."""
    if not SHA256.fullmatch(text):
        raise ValueError("Records, targets and states are 64 hexadecimal digits each.")
    return text


def distinct(values: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    """JSON objects once each, in the order of their canonical bytes."""
    return tuple(json.loads(text) for text in sorted({canonical_json(each) for each in values}))


Hash = Annotated[str, AfterValidator(require_hash)]
IN_ORDER = AfterValidator(lambda values: tuple(sorted(values)))
"""Of a field that is a set: it is listed in order."""


@dataclass(frozen=True, order=True, config=PLAIN)
class ErasedTarget:
    """What the request named, as its keyed hash. outcome: removed, already (erased before) or
    unknown."""

    what: TargetKind
    hash: Hash
    outcome: str


@dataclass(frozen=True, config=PLAIN)
class RequestTerms:
    """The request and its deadline. due: a month from receipt; extended: the later moment that
    replaces it, None where the request was not extended."""

    id: str
    received: str
    due: str
    extended: str | None


@dataclass(frozen=True, config=PLAIN)
class DeadlineCheck:
    """When the erasure had to be done, and whether it was purged and scanned by then."""

    due: str
    met: bool


@dataclass(frozen=True, config=PLAIN)
class ErasedHashes:
    """Keyed hashes: of what the request named, and of the records that were removed."""

    targets: Annotated[tuple[ErasedTarget, ...], IN_ORDER]
    records: Annotated[tuple[Hash, ...], IN_ORDER]


@dataclass(frozen=True, config=PLAIN)
class StateChange:
    """Fingerprints of the published states before and after the erasure."""

    before: Hash
    after: Hash


@dataclass(frozen=True, config=PLAIN)
class ConstituentChange:
    """rebuilt: keys of the constituents that were trained; reused: how many were not;
    reused_digest: digest over the keys of those."""

    rebuilt: Annotated[tuple[str, ...], IN_ORDER]
    reused: int
    reused_digest: str


@dataclass(frozen=True, config=PLAIN)
class PurgedFiles:
    """How many files were removed."""

    files: int


@dataclass(frozen=True, config=PLAIN)
class ExecutionKind:
    """engine: inline or ray; database: sqlite or postgresql."""

    engine: str
    database: str


@dataclass(frozen=True, config=PLAIN)
class Code:
    """The program that erased: its version, and the SHA-256 over its files (`code_digest`)."""

    version: str
    sha256: str

    @classmethod
    @cache
    def running(cls) -> "Code":
        """This program, as its files are when it is first asked."""
        return cls(lmeraser_ray.__version__, code_digest())


@dataclass(frozen=True, config=PLAIN)
class Times:
    """When the request came to each state: UTC, ISO 8601. planned and training are None where there
    was nothing to plan or to train."""

    received: str
    planned: str | None
    training: str | None
    published: str
    purged: str


@dataclass(frozen=True, config=PLAIN)
class ChoiceCount:
    """Of the records that left with these publications: how many the sweep saw that chose the
    configuration, and how many these are."""

    seen: int
    of: int


@dataclass(frozen=True, kw_only=True, config=PLAIN)
class Statement:
    """All that a certificate says of one erasure: the predicate of the in-toto statement.

    passes: records times epochs trained. scan: the absence scan's report as JSON. transient,
    backups: limitations, in sentences. configuration: the identity in the manifest; backbone: its
    weights' identity; numerics: each one that a constituent was trained under. ledger: the
    ledger's head when the statement was frozen. choice: None where no sweep chose the
    configuration; then the field is left out.
    """

    request: RequestTerms
    erased: ErasedHashes
    state: StateChange
    constituents: ConstituentChange
    reclustered: bool
    passes: int
    purged: PurgedFiles
    scan: dict[str, Any]
    transient: tuple[str, ...]
    backups: tuple[str, ...]
    execution: ExecutionKind
    code: Code
    configuration: dict[str, Any]
    backbone: str
    seed: int
    numerics: Annotated[tuple[dict[str, Any], ...], AfterValidator(distinct)]
    times: Times
    ledger: LedgerHead
    choice: ChoiceCount | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def deadline(self) -> DeadlineCheck:
        """The extension's moment where there is one, to the microsecond."""
        due = self.request.extended or self.request.due
        return DeadlineCheck(due, from_text(self.times.purged) <= from_text(due))

    def as_json(self) -> dict[str, Any]:
        """The whole in-toto statement."""
        predicate = PREDICATE_FIELDS.dump_python(self, mode="json")
        if self.choice is None:
            del predicate["choice"]
        return {
            "_type": STATEMENT,
            "subject": [{"name": "workspace", "digest": {"sha256": self.state.after}}],
            "predicateType": PREDICATE,
            "predicate": predicate,
        }


PREDICATE_FIELDS = TypeAdapter(Statement)


def statement_of(statement: Statement) -> bytes:
    """The statement's canonical bytes (RFC 8785)."""
    return canonical_json(statement.as_json())


def read_statement(payload: bytes) -> Statement:
    """Read what `statement_of` wrote. Errors: `VerificationError` on anything else, another
    version's statement included: every byte must be the one that writing it again gives."""
    try:
        whole = json.loads(payload)
        found = PREDICATE_FIELDS.validate_json(canonical_json(whole["predicate"]))
        same = statement_of(found) == payload
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise VerificationError(
            "This is no statement of an erasure that this version reads: use the version that "
            "wrote it."
        ) from error
    if not same:
        raise VerificationError(
            f"The statement is of kind {whole.get('predicateType')!r} and not as {PREDICATE} has "
            "it: use the version that wrote it."
        )
    return found


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
