"""What each of the two verifiers makes of certificates."""

import gzip
import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from lmeraser_ray.erasure.certificate.keystore import read_public_key
from lmeraser_ray.erasure.certificate.verifier import check_certificate
from lmeraser_ray.errors import VerificationError
from tests.conformance.forge import AT_HAND, Case

HERE = Path(__file__).parent
PEMS = [HERE / name for name in AT_HAND]
STEPS = {
    "encoding": "no signed envelope|not the one encoding",
    "type": "^The envelope holds",
    "key": "^The envelope says that key",
    "signature": "^The signature is not",
    "statement": "use the version that wrote it",
}
"""What the program says at each step."""


def by_program(cases: Iterable[Case], pems: Iterable[Path] = PEMS) -> dict[str, str]:
    """The program's verdicts, by the names of the cases."""
    keys = dict(read_public_key(pem) for pem in pems)

    def verdict(case: Case) -> str:
        try:
            check_certificate(case.data, keys)
        except VerificationError as error:
            [step] = [step for step, said in STEPS.items() if re.search(said, str(error))]
            return step
        return "good"

    return {case.name: verdict(case) for case in cases}


def by_node(cases: Iterable[Case], folder: Path, pems: Iterable[Path] = PEMS) -> dict[str, str]:
    """The verdicts of `verify.mjs`, by the names of the cases."""
    written = folder / "cases.jsonl.gz"
    written.write_bytes(gzip.compress("".join(f"{case.line()}\n" for case in cases).encode()))
    return by_node_of(written, pems)


def by_node_of(written: Path, pems: Iterable[Path] = PEMS) -> dict[str, str]:
    """The verdicts of `verify.mjs` on a file of cases."""
    keys = [word for pem in pems for word in ("--public_key", str(pem))]
    words = [node(), HERE / "verify.mjs", *keys, "--cases", written]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = map(json.loads, done.stdout.splitlines())
    return {each["name"]: each["verdict"] for each in found}


def node() -> str:
    """The program `node`; the test fails where it is not installed."""
    found = shutil.which("node")
    if found is None:
        pytest.fail(
            "The second verifier of certificates needs Node.js 20 or newer, and there is no `node` "
            "on the PATH: install it, or leave these tests out with --without-node."
        )
    return found
