"""`benchmarks.paired`, and the page that quotes it: each table of differences, and each figure that
the page takes from a committed result, is what the results say."""

import re
from pathlib import Path

import pytest

from benchmarks.paired import idle, paired, runs_of, table
from lmeraser_ray.config import presets
from lmeraser_ray.config.learner import PromptConfig
from lmeraser_ray.models.learners.prompt import prompt_mask

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
PAGE = (ROOT / "docs" / "results.md").read_text()
QUOTED = re.findall(
    r"^<!-- ((?:[\w-]+\.json ?)+): ([^>]+?) -->\n\n((?:\|.*\n)+)", PAGE, re.MULTILINE
)


def run(accuracy: float, passes: int = 0, reused: int = 0) -> dict[str, object]:
    return {
        "accuracy": {"test": accuracy},
        "records": {"training": 100, "test": 10},
        "training": {"passes": passes, "reused": reused},
    }


def test_differences_are_of_the_seeds_that_both_have() -> None:
    """The split falls out: both lose a tenth on seed 1, and differ by 0.02 on each."""
    runs = {
        "a": {"0": run(0.9), "1": run(0.8), "2": run(0.1)},
        "b": {"1": run(0.78), "0": run(0.88)},
    }
    assert paired(runs, "a", "b") == ["`a`", "`b`", "0, 1", "+0.020, +0.020", "+0.020 ± 0.000"]
    del runs["b"]["1"]
    assert paired(runs, "b", "a")[2:] == ["0", "-0.020", "-0.020"]


def test_what_trains_nothing_is_what_had_no_pass() -> None:
    """A run that found constituents in the store says nothing of it."""
    runs = {"a": {"0": run(0.9, 400), "1": run(0.9, 1000), "2": run(0.9, 10, reused=3)}}
    assert idle(runs, "a", 10) == ["`a`", "0, 1", "60%, 0%"]


@pytest.mark.parametrize(("files", "systems", "shown"), QUOTED, ids=[one[1] for one in QUOTED])
def test_the_tables_of_the_page(files: str, systems: str, shown: str) -> None:
    runs = runs_of(*(RESULTS / name for name in files.split()))
    assert table(runs, systems.split(), of_idle=False) + "\n" == shown


def test_the_page_has_its_tables_of_differences() -> None:
    assert len(QUOTED) == 3


def test_half_of_the_quickstart_trains_nothing() -> None:
    """As the page says."""
    row = idle(runs_of(RESULTS / "compare.json"), "lmeraser", 10)
    assert row == ["`lmeraser`", "0, 1, 2", "51%, 64%, 50%"]
    assert "51% of" in " ".join((ROOT / "docs" / "results.md").read_text().split())


def test_the_prompt_of_figure_1() -> None:
    """A frame of 30 pixels around 224 has 69,840 parameters, not 12 thousand."""
    prompt = PromptConfig(**presets.read("paper")["learner"]["prompt"])
    assert 3 * int(prompt_mask(prompt, 224).sum()) == 3 * (224**2 - 164**2) == 69_840
    assert "69,840" in PAGE


def test_the_best_probe_at_the_last_features() -> None:
    """0.953, the best of eight on seed 0."""
    runs = runs_of(RESULTS / "last-layer-probe.json")
    assert len(runs) == 8
    assert max(by_seed["0"]["accuracy"]["test"] for by_seed in runs.values()) == pytest.approx(
        0.953, abs=0.0005
    )


def test_the_average_accuracy_over_epochs() -> None:
    """Fig. 4, after the first and the last epoch."""
    runs = runs_of(RESULTS / "average-accuracy.json")["lmeraser"].values()
    first, last = (sum(one["curve"][at] for one in runs) / len(runs) for at in (0, -1))
    assert f"{first:.3f} after one epoch, {last:.3f} after ten" in PAGE
