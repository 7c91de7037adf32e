"""The facts of one erasure, as a statement, for the tests that write or sign one."""

from lmeraser_ray.erasure.absence.inventory import DATA_INVENTORY
from lmeraser_ray.erasure.certificate.limitations import BACKUPS, TRANSIENT, sentences_of
from lmeraser_ray.erasure.certificate.statement import (
    Code,
    ConstituentChange,
    ErasedHashes,
    ErasedTarget,
    ExecutionKind,
    PurgedFiles,
    RequestTerms,
    StateChange,
    Statement,
    Times,
)
from lmeraser_ray.erasure.circumstances import Circumstances
from lmeraser_ray.storage.database.ledger import LedgerHead
from lmeraser_ray.storage.digests import canonical_json

PLAIN = Circumstances("inline", "sqlite")


def digit(text: str) -> str:
    """64 hexadecimal digits."""
    return text * 64


SCAN: dict[str, object] = {
    "records": 2,
    "found": 0,
    "explained": 0,
    "searched": [
        {"place": "records", "how": "parsed", "files": 40, "bytes": 12345},
        {"place": "the pointer", "how": "raw", "files": 1, "bytes": 130},
    ],
    "not_searched": [
        {"place": place.name, "because": place.because}
        for place in DATA_INVENTORY
        if place.name not in ("records", "the pointer") and PLAIN.holds(place.only)
    ],
    "ids_looked_for_in_rows_only": 0,
    "records_without_a_window": {},
}

STATEMENT = Statement(
    request=RequestTerms(
        "er-20260131-0123456789abcdef",
        "2026-01-31T12:00:00.000000Z",
        "2026-02-28T12:00:00.000000Z",
        None,
    ),
    erased=ErasedHashes(
        (
            ErasedTarget("subject", digit("b"), "removed"),
            ErasedTarget("record", digit("a"), "already"),
        ),
        (digit("d"), digit("c")),
    ),
    state=StateChange(digit("1"), digit("2")),
    constituents=ConstituentChange(("k2", "k1"), 18, digit("5")),
    reclustered=False,
    passes=1200,
    purged=PurgedFiles(7),
    scan=SCAN,
    transient=sentences_of(TRANSIENT, PLAIN),
    backups=sentences_of(BACKUPS, PLAIN),
    execution=ExecutionKind("inline", "sqlite"),
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
    ledger=LedgerHead(9, digit("8")),
)
PAYLOAD = canonical_json({"erased": ["é", 1, None], "text": "0" * 90})
"""Bytes to sign."""
