"""The statement of an erasure: what a certificate says.

    Statement ──► statement_of ──► canonical bytes, frozen in the database ──► signed
    Statement ◄── read_statement ◄── the same bytes, from a certificate

It is an in-toto Statement v1 (https://github.com/in-toto/attestation, spec/v1) about the workspace,
whose digest is the state after the erasure; its predicate is the class `Statement`, which declares
every field once. Invariants: the bytes are a function of the fields, and there is one
encoding of them (RFC 8785; sets are sorted), so that reading and writing again gives the same
bytes; of a person there are only keyed hashes, which say nothing without the workspace's secret;
what an erasure cannot reach (memory, media, backups) is listed as a limitation.
"""

import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, computed_field
from pydantic.dataclasses import dataclass

import lmeraser_ray
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.database.ledger import LedgerHead
from lmeraser_ray.storage.database.pseudonyms import TargetKind
from lmeraser_ray.storage.digests import canonical_json, key_of
from lmeraser_ray.storage.foreign_json import ForeignJson, JsonObject
from lmeraser_ray.storage.times import from_text, to_text

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATES = {1: "urn:lmeraser-ray:erasure:1", 2: "urn:lmeraser-ray:erasure:2"}
"""By the version of the statement: 1 is of releases before 0.6.0, whose states are fingerprints."""
STATE_DIGESTS = {1: "sha256", 2: "hmac-sha256"}
"""The name of the digest by which the subject is named, by the version of the statement."""
VERSIONS = {urn: version for version, urn in PREDICATES.items()}
SHA256 = re.compile(r"[0-9a-f]{64}")
DEPTH = 32
"""How many objects and lists a statement may have within one another: a limit of the format, so
that every verifier has the same."""
PLAIN = ConfigDict(strict=True, hide_input_in_errors=True)
"""Fields are not converted, and an error does not repeat what was given, which may be an id."""


def require_hash(text: str) -> str:
    """Return `text`. Errors: `ValueError` where it is no SHA-256, so that no id gets in."""
    if not SHA256.fullmatch(text):
        raise ValueError("Records, targets and states are 64 hexadecimal digits each.")
    return text


def require_moment(text: str) -> str:
    """Return `text`. Errors: `ValueError` where it is not a moment as `to_text` writes it."""
    try:
        same = to_text(from_text(text)) == text
    except (ValueError, OverflowError):  # of no calendar; within hours of its first or last day
        same = False
    if not same:
        raise ValueError("A moment is written as 2026-01-31T12:00:00.000000Z, in UTC.")
    return text


def distinct(values: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    """JSON objects once each, in the order of their canonical bytes."""
    return tuple(json.loads(text) for text in sorted({canonical_json(each) for each in values}))


Hash = Annotated[str, AfterValidator(require_hash)]
Moment = Annotated[str, AfterValidator(require_moment)]
Count = Annotated[int, Field(ge=0)]
IN_ORDER = AfterValidator(lambda values: tuple(sorted(set(values))))
"""Of a field that is a set: it is listed in order, each item once."""


@dataclass(frozen=True, order=True, config=PLAIN)
class ErasedTarget:
    """What the request named, as its keyed hash. outcome: already, where it was erased before."""

    what: TargetKind
    hash: Hash
    outcome: Literal["removed", "already", "unknown"]


@dataclass(frozen=True, config=PLAIN)
class RequestTerms:
    """The request and its deadline. due: a month from receipt; extended: the later moment that
    replaces it, None where the request was not extended."""

    id: str
    received: Moment
    due: Moment
    extended: Moment | None


@dataclass(frozen=True, config=PLAIN)
class DeadlineCheck:
    """When the erasure had to be done, and whether it was purged and scanned by then."""

    due: Moment
    met: bool


@dataclass(frozen=True, config=PLAIN)
class ErasedHashes:
    """Keyed hashes: of what the request named, and of the records that were removed."""

    targets: Annotated[tuple[ErasedTarget, ...], IN_ORDER]
    records: Annotated[tuple[Hash, ...], IN_ORDER]


@dataclass(frozen=True, config=PLAIN)
class StateChange:
    """The published states before and after the erasure: keyed hashes of their fingerprints, which
    say nothing of the records without the workspace's secret. In version 1: the fingerprints."""

    before: Hash
    after: Hash


@dataclass(frozen=True, config=PLAIN)
class ConstituentChange:
    """rebuilt: keys of the constituents that were trained; reused: how many were not;
    reused_digest: digest over the keys of those."""

    rebuilt: Annotated[tuple[str, ...], IN_ORDER]
    reused: Count
    reused_digest: str


@dataclass(frozen=True, config=PLAIN)
class PurgedFiles:
    """How many files were removed."""

    files: Count


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

    received: Moment
    planned: Moment | None
    training: Moment | None
    published: Moment
    purged: Moment


@dataclass(frozen=True, config=PLAIN)
class ChoiceCount:
    """Of the records that left with these publications: how many the sweep saw that chose the
    configuration, and how many these are."""

    seen: Count
    of: Count


@dataclass(frozen=True, order=True, config=PLAIN)
class AcceptedFinding:
    """A finding of the absence scan that an operator accepted, so that the erasure could be
    certified. place, trace, file: as the scan reports it; accepted: the moment; reason: the keyed
    hash of the operator's reason."""

    place: str
    trace: str
    file: str
    accepted: Moment
    reason: Hash


@dataclass(frozen=True, kw_only=True, config=PLAIN)
class Statement:
    """All that a certificate says of one erasure: the predicate of the in-toto statement.

    passes: records times epochs trained. scan: the absence scan's report as JSON. transient,
    backups: limitations, in sentences. configuration: the identity in the manifest; backbone: its
    weights' identity; numerics: each one that a constituent was trained under. ledger: the
    ledger's head when the statement was frozen. choice: None where no sweep chose the
    configuration; then the field is left out. exceptions: accepted findings; left out where there
    are none. version: of the statement, which its type names.
    """

    request: RequestTerms
    erased: ErasedHashes
    state: StateChange
    constituents: ConstituentChange
    reclustered: bool
    passes: Count
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
    exceptions: Annotated[tuple[AcceptedFinding, ...], IN_ORDER] = ()
    version: Literal[1, 2] = 2

    @computed_field  # type: ignore[prop-decorator]
    @property
    def deadline(self) -> DeadlineCheck:
        """The extension's moment where there is one, to the microsecond."""
        due = self.request.extended or self.request.due
        return DeadlineCheck(due, from_text(self.times.purged) <= from_text(due))

    def as_json(self) -> dict[str, Any]:
        """The whole in-toto statement."""
        predicate = PREDICATE_FIELDS.dump_python(self, mode="json")
        del predicate["version"]
        for name in ("choice", "exceptions"):
            if not predicate[name]:
                del predicate[name]
        digest = {STATE_DIGESTS[self.version]: self.state.after}
        return {
            "_type": STATEMENT,
            "subject": [{"name": "workspace", "digest": digest}],
            "predicateType": PREDICATES[self.version],
            "predicate": predicate,
        }


class WholeJson(ForeignJson):
    """The in-toto statement around the predicate; every byte is compared afterwards."""

    model_config = ConfigDict(extra="ignore")
    predicate: JsonObject
    predicateType: str = ""  # noqa: N815 - in-toto's name


PREDICATE_FIELDS = TypeAdapter(Statement)


def statement_of(statement: Statement) -> bytes:
    """The statement's canonical bytes (RFC 8785)."""
    return canonical_json(statement.as_json())


def read_statement(payload: bytes) -> Statement:
    """Read what `statement_of` wrote. Errors: `VerificationError` on anything else, another
    version's statement included: every byte must be the one that writing it again gives."""
    try:
        whole = WholeJson.read(payload)
        require_shallow([whole.predicate])  # within the statement
        version = VERSIONS[whole.predicateType]
        predicate = canonical_json({**whole.predicate, "version": version})
        found = PREDICATE_FIELDS.validate_json(predicate)
        same = statement_of(found) == payload and (version > 1 or not found.exceptions)
    except (KeyError, ValueError) as error:
        raise VerificationError(
            "This is no statement of an erasure that this version reads: use the version that "
            "wrote it."
        ) from error
    if not same:
        raise VerificationError(
            f"The statement is not written as {PREDICATES[version]} has it: use the version that "
            "wrote it."
        )
    return found


def require_shallow(whole: object) -> None:
    """Errors: `ValueError` where a JSON value has more than `DEPTH` objects and lists within one
    another."""
    level = [whole]
    for _ in range(DEPTH):
        level = [below for value in level for below in items_of(value)]
    if any(isinstance(value, dict | list) for value in level):
        raise ValueError(f"A statement has at most {DEPTH} objects and lists within one another.")


def items_of(value: object) -> Iterable[object]:
    """The values in an object or a list; none in any other JSON value."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


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
