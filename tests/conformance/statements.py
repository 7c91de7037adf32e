"""The statement that the cases begin with, for each version of the predicate, as JSON."""

import copy

from tests.conformance.forge import Json

RECEIVED, DUE = "2026-01-31T12:00:00.000000Z", "2026-02-28T12:00:00.000000Z"
AFTER = "2" * 64

VERSION_1: Json = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "workspace", "digest": {"sha256": AFTER}}],
    "predicateType": "urn:lmeraser-ray:erasure:1",
    "predicate": {
        "request": {
            "id": "er-20260131-0123456789abcdef",
            "received": RECEIVED,
            "due": DUE,
            "extended": None,
        },
        "deadline": {"due": DUE, "met": True},
        "erased": {
            "targets": [
                {"what": "record", "hash": "a" * 64, "outcome": "already"},
                {"what": "subject", "hash": "9" * 64, "outcome": "removed"},
            ],
            "records": ["c" * 64, "d" * 64],
        },
        "state": {"before": "1" * 64, "after": AFTER},
        "constituents": {"rebuilt": ["3" * 64, "4" * 64], "reused": 18, "reused_digest": "5" * 64},
        "reclustered": False,
        "passes": 1200,
        "purged": {"files": 7},
        "scan": {"found": 0, "searched": [{"place": "records", "files": 40}]},
        "transient": ["Memory is not searched."],
        "backups": ["Backups hold what they held."],
        "execution": {"engine": "inline", "database": "sqlite"},
        "code": {"version": "0.5.0", "sha256": "6" * 64},
        "configuration": {"learner": {"rate": 0.1}},
        "backbone": "7" * 64,
        "seed": 3,
        "numerics": [{"device": "cpu"}, {"device": "cuda"}],
        "times": {
            "received": RECEIVED,
            "planned": "2026-01-31T12:00:01.000000Z",
            "training": "2026-01-31T12:00:02.000000Z",
            "published": "2026-01-31T12:00:03.000000Z",
            "purged": "2026-01-31T12:00:04.000000Z",
        },
        "ledger": {"seq": 9, "hash": "8" * 64},
    },
}

FINDING: Json = {
    "place": "files that are no part of the workspace",
    "trace": "record id",
    "file": "notes.txt",
    "accepted": "2026-01-31T12:00:03.500000Z",
    "reason": "e" * 64,
}

VERSION_2 = copy.deepcopy(VERSION_1)
VERSION_2["predicateType"] = "urn:lmeraser-ray:erasure:2"
VERSION_2["subject"] = [{"name": "workspace", "digest": {"hmac-sha256": AFTER}}]

VERSIONS: dict[int, Json] = {1: VERSION_1, 2: VERSION_2}
"""By the version of the predicate."""

OPTIONAL: dict[int, Json] = {
    1: {"choice": {"seen": 3, "of": 4}},
    2: {"choice": {"seen": 3, "of": 4}, "exceptions": [FINDING]},
}
"""The fields of each version's predicate that may be absent."""
