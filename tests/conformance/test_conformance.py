"""Two verifiers of certificates agree with what is expected, and with one another: the program's,
and `verify.mjs`, which was written from the format's page alone."""

import gzip
import random
import sqlite3
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from lmeraser_ray.erasure.certificate.dsse import SigningKey, sign
from lmeraser_ray.erasure.certificate.statement import AcceptedFinding, ChoiceCount, statement_of
from tests.conformance.both import STEPS, by_node, by_node_of, by_program
from tests.conformance.forge import KEY, Case, canonical, sealed
from tests.conformance.generate import CASES, cases, lines, public_keys
from tests.conformance.statements import FINDING, VERSIONS
from tests.support.statements import STATEMENT

FIXTURES = Path(__file__).parents[1] / "fixtures"
ARCHIVES = sorted(FIXTURES.glob("workspace-*.tar.gz"))
MUTATIONS = 1000


@pytest.fixture(autouse=True)
def _with_node(request: pytest.FixtureRequest) -> None:
    if "node" in request.function.__name__ and request.config.getoption("--without-node"):
        pytest.skip("--without-node")


def wrong(found: dict[str, str], wanted: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Where verdicts differ: what was found, and what was expected."""
    assert found.keys() == wanted.keys()
    return {name: (found[name], wanted[name]) for name in wanted if found[name] != wanted[name]}


@pytest.fixture(scope="module")
def kept() -> list[Case]:
    """The cases as they are in the repository."""
    return [Case.read(line) for line in gzip.decompress(CASES.read_bytes()).decode().splitlines()]


def test_the_cases_are_those_that_the_generator_writes() -> None:
    assert gzip.decompress(CASES.read_bytes()) == lines(), "python -m tests.conformance.generate"
    assert all(path.read_bytes() == pem for path, pem in public_keys().items())


def test_there_are_cases_of_each_kind(kept: list[Case]) -> None:
    assert len({case.name for case in kept}) == len(kept) > 500
    assert len({case.data for case in kept}) == len(kept)
    count = Counter(case.verdict for case in kept)
    assert set(count) == {"good", *STEPS}
    assert min(count.values()) >= 5
    assert all(case.why for case in kept)


def test_the_program_agrees(kept: list[Case]) -> None:
    assert wrong(by_program(kept), {case.name: case.verdict for case in kept}) == {}


def test_node_agrees(kept: list[Case]) -> None:
    assert wrong(by_node_of(CASES), {case.name: case.verdict for case in kept}) == {}


def mutated(data: bytes, chance: random.Random) -> bytes:
    """With a byte or a slice of it changed, left out, repeated or put elsewhere."""
    start, other = sorted(chance.randrange(len(data)) for _ in range(2))
    end = min(other, start + chance.choice([1, 1, 1, 4, 40]))
    piece, place = data[start:end], chance.randrange(len(data))
    return chance.choice(
        [
            data[:start] + bytes([chance.randrange(256)]) + data[start + 1 :],
            data[:start]
            + bytes([chance.choice(b'{}[],:"\\0123456789-+.eE truefalsn')])
            + data[end:],
            data[:start] + data[end:],
            data[:place] + piece + data[place:],
        ]
    )


def mutations() -> Iterator[Case]:
    """Changed envelopes, and changed statements that are signed."""
    chance, good = random.Random(6), [case for case in cases() if case.verdict == "good"]
    for number in range(MUTATIONS):
        case = chance.choice(good)
        if number % 3:
            payload = canonical(VERSIONS[chance.choice(list(VERSIONS))])
            data = canonical(sealed(mutated(payload, chance)))
        else:
            data = mutated(case.data, chance)
        yield Case(f"{number}", "", "", data)


@pytest.mark.thorough
def test_node_agrees_on_mutations(tmp_path: Path) -> None:
    made = list(mutations())
    found = by_program(made)
    assert len(Counter(found.values())) >= 4
    assert wrong(by_node(made, tmp_path), found) == {}


def test_node_accepts_what_the_program_writes(tmp_path: Path) -> None:
    """Certificates of this version."""
    key = SigningKey(KEY.private)
    finding = AcceptedFinding(**FINDING)
    whole = [
        STATEMENT,
        replace(STATEMENT, choice=ChoiceCount(3, 4)),
        replace(STATEMENT, exceptions=(finding, replace(finding, file="a.txt"))),
    ]
    made = [Case(str(i), "", "", sign(statement_of(each), key)) for i, each in enumerate(whole)]
    assert set(by_node(made, tmp_path).values()) == {"good"}


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name)
def test_node_accepts_what_earlier_releases_wrote(archive: Path, tmp_path: Path) -> None:
    """Certificates that the old workspaces keep, with their own keys."""
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    with closing(sqlite3.connect(tmp_path / "workspace" / "requests.db")) as database:
        rows = database.execute("SELECT id, envelope FROM requests WHERE envelope IS NOT NULL")
        made = [Case(name, "good", "", envelope) for name, envelope in rows]
    assert made
    pems = sorted((tmp_path / "keys" / "public").glob("*.pem"))
    assert set(by_program(made, pems).values()) == {"good"}
    assert set(by_node(made, tmp_path, pems).values()) == {"good"}


def test_without_node_the_test_fails_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.fail.Exception, match=r"needs Node\.js.*--without-node"):
        by_node_of(CASES)
