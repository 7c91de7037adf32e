"""`benchmarks.constants` reads no test record, judges as it says, and its file is what the docs
quote."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import constants, persons
from benchmarks.constants import Digits, Split, compared, judged, sides, split
from lmeraser_ray.config import Config
from lmeraser_ray.config.quickstart import quickstart
from lmeraser_ray.data.subjects import is_test_subject
from lmeraser_ray.models.learners import class_means, ridge
from lmeraser_ray.models.learners.constituent import Constituent

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def config() -> Config:
    return quickstart()


@pytest.fixture
def digits() -> Digits:
    """Four hundred, of four numbers each."""
    ids = [f"{at % 10}/digit-{at}.png" for at in range(400)]
    features = np.random.default_rng(0).standard_normal((400, 4)).astype(np.float32)
    labels = np.array([name[0] for name in ids])
    return Digits(ids, labels, persons.people(ids), features, "none")


@pytest.mark.parametrize("partition", constants.PARTITIONS)
def test_no_test_record_is_read_and_nobody_is_on_both_sides(
    digits: Digits, config: Config, partition: str
) -> None:
    part = split(digits, 3, partition, 7, config)
    training = np.concatenate(part.shards)
    assert len(set(training)) == len(training)
    who = [{digits.people[at] for at in side} for side in (training, part.held)]
    assert who[0] and who[1] and not who[0] & who[1]
    fraction = config.data.test_fraction
    assert not any(is_test_subject(3, person, fraction) for person in who[0] | who[1])
    left = {person for person in digits.people if not is_test_subject(3, person, fraction)}
    assert who[0] | who[1] == left
    assert np.allclose(part.weights.sum(1), 1) and part.weights.shape[1] == len(part.shards)
    assert len(sides(digits, 4, config)[1]) and set(part.held) != set(sides(digits, 4, config)[1])


def test_the_answers_of_shards_are_weighed(digits: Digits) -> None:
    """Of a 0 and a 1; the second shard knows no 1."""
    part = Split([], np.array([0, 1]), np.array([[0.5, 0.5], [0.25, 0.75]]))
    answers = [
        (Constituent(("0", "1"), {}, {}), np.float32([[0.6, 0.4], [0.2, 0.8]])),
        (Constituent(("0", "3"), {}, {}), np.float32([[0.8, 0.2], [0.9, 0.1]])),
    ]
    loss, accuracy = judged(digits, part, answers)
    assert loss == pytest.approx(-(np.log(0.7) + np.log(0.2)) / 2)
    assert accuracy == 0.5


def test_a_value_is_compared_with_the_best_of_each_setting() -> None:
    found = compared([{"1": [0.1, 0.9], "2": [0.4, 0.8]}, {"1": [0.2, 0.7], "2": [0.2, 0.9]}])
    assert [found["2"][name] for name in ("log loss over the best", "worst")] == [2.0, 4.0]
    assert [found["1"][name] for name in ("below the best", "worst below")] == [0.1, 0.2]


def test_every_constant_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "constants.json"
    words = ["--digits", "digits", "--readouts", "fourth stage, mean2x2", "--seeds", "1"]
    monkeypatch.setattr(constants, "PROJECTION", 16)
    monkeypatch.setattr(
        sys, "argv", ["benchmark", *words, "--every", "12", "--shards", "3", "--out", str(out)]
    )
    constants.main()
    found = json.loads(out.read_text())
    assert found == json.loads(capsys.readouterr().out)
    assert len(found["settings"]) == 2 * len(constants.TRIED)
    means, heads = found["summary"]["one"]["SPREAD_SHARE"], found["summary"]["one"]["penalty"]
    assert list(means) == [str(share) for share in constants.SHARES]
    assert list(heads) == [str(penalty) for penalty in constants.PENALTIES]
    at_best = [each["log loss over the best"] for each in means.values()]
    assert min(at_best) < 1.1 < max(at_best)


def test_the_page_has_the_tables_of_the_committed_result() -> None:
    result = json.loads((DOCS / "results" / "constants.json").read_text())
    quoted = (DOCS / "results.md").read_text().partition("<!-- constants.json -->\n\n")[2]
    assert quoted.startswith(constants.tables(result["summary"]) + "\n\n- ")
    assert result["now"] == {"SCALE": ridge.SCALE, "SPREAD_SHARE": class_means.SPREAD_SHARE}


def test_the_values_in_use_are_measured() -> None:
    assert ridge.SCALE in constants.SCALES
    assert class_means.SPREAD_SHARE in constants.SHARES
