"""The facts of one erasure, as a statement, for the tests that write or sign one."""

from lmeraser_ray.erasure.absence.report import ScanReport, Searched
from lmeraser_ray.erasure.certificate.limitations import backup_sentences, transient_sentences
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
from lmeraser_ray.storage.database.ledger import LedgerHead
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
    scan=SCAN.as_json(),
    transient=transient_sentences(engine="inline", dialect="sqlite"),
    backups=backup_sentences(dialect="sqlite"),
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
