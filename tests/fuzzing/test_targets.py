"""Every seed and every input that a fuzzer found goes through its target, and so do some thousand
mutations of them: each ends in an answer or in one sentence."""

import io
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmeraser_ray.errors import LmeraserError
from tests.fuzzing.mutation import mutated
from tests.fuzzing.targets import SEEDS, TARGETS, attempt

FILES = sorted(path for path in SEEDS.rglob("*") if path.is_file())
GOOD = [path for path in FILES if not path.name.startswith("found-")]
REFUSED = {"ledger_head/other.json"}
SLOW = 5


def test_each_target_has_seeds_and_each_folder_a_target() -> None:
    assert {path.parent.name for path in GOOD} == TARGETS.keys()
    assert {path.name for path in SEEDS.iterdir()} == TARGETS.keys()
    assert sum(path.stat().st_size for path in FILES) < 300_000


@pytest.mark.parametrize("path", FILES, ids=[f"{p.parent.name}/{p.name}" for p in FILES])
def test_a_seed_ends_in_an_answer_or_a_sentence(path: Path) -> None:
    begun = time.process_time()
    attempt(TARGETS[path.parent.name], path.read_bytes())
    assert time.process_time() - begun < SLOW


def test_seeds_reach_what_lies_behind_the_first_check() -> None:
    """A seed that is refused at once would fuzz nothing."""
    refused = set()
    for path in GOOD:
        try:
            TARGETS[path.parent.name](path.read_bytes())
        except LmeraserError:
            refused.add(f"{path.parent.name}/{path.name}")
    assert refused == REFUSED


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.thorough
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_mutations_end_in_an_answer_or_a_sentence(name: str, data: st.DataObject) -> None:
    seeds = [path.read_bytes() for path in FILES if path.parent.name == name]
    attempt(TARGETS[name], data.draw(mutated(seeds)))


def test_a_defect_is_found() -> None:
    """Of a target that has one: its error comes through."""

    def defective(data: bytes) -> None:
        io.BytesIO(data).read()
        raise KeyError(data)

    with pytest.raises(KeyError):
        attempt(defective, b"anything")
