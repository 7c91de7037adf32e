"""Write the cases and the public keys anew: `python -m tests.conformance.generate`."""

import gzip
from pathlib import Path

from tests.conformance.bad_envelopes import bad_envelopes
from tests.conformance.bad_payloads import bad_payloads
from tests.conformance.bad_statements import bad_statements
from tests.conformance.forge import AT_HAND, Case
from tests.conformance.good_cases import good_cases

HERE = Path(__file__).parent
CASES = HERE / "cases.jsonl.gz"


def cases() -> list[Case]:
    """All of them, in their order."""
    return [*good_cases(), *bad_envelopes(), *bad_payloads(), *bad_statements()]


def lines() -> bytes:
    """What is in `CASES`: a case a line."""
    return "".join(f"{case.line()}\n" for case in cases()).encode()


def public_keys() -> dict[Path, bytes]:
    """The public keys' files."""
    return {HERE / name: key.pem for name, key in AT_HAND.items()}


if __name__ == "__main__":
    CASES.write_bytes(gzip.compress(lines(), mtime=0))
    for path, data in public_keys().items():
        path.write_bytes(data)
    print(f"{len(cases())} cases, {CASES.stat().st_size:,} bytes")
