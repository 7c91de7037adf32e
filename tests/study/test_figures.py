"""Figures: what is drawn is what the results say, none is drawn from results that lack it, the same
results give the same bytes.

The results here are made up, in the schema of `compare`; that a real study can be read is tested
where `compare` is.
"""

import itertools
import json
from copy import deepcopy
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lmeraser_ray.errors import DataError
from lmeraser_ray.operations.work_units import interval
from lmeraser_ray.study.figure.affected import affected_by_a_deletion, short
from lmeraser_ray.study.figure.epochs import accuracy_over_epochs, average_accuracy
from lmeraser_ray.study.figure.frontier import (
    FrontierPoint,
    frontier_of_people,
    frontier_of_systems,
    pareto,
)
from lmeraser_ray.study.figure.labels import Named, apart, name_points
from lmeraser_ray.study.figure.pairs import random_against_adaptive
from lmeraser_ray.study.figure.ratios import ratio_and_prompts, retained_accuracy
from lmeraser_ray.study.figure.results import Spread
from lmeraser_ray.study.figure.style import Missing, house_style, look, new_figure, rendered
from lmeraser_ray.study.figures import OF_A_STUDY, study_figures, title_of
from tests.support.studies import (
    ALL,
    VARIED,
    bars,
    drawn,
    lines,
    results,
    rounded,
    study,
    texts,
    written,
)


@pytest.mark.thorough
def test_a_whole_study(tmp_path: Path) -> None:
    """Every figure, in both formats, of all systems and eight variants; the PNGs are readable and
    wide enough for one column."""
    done = study_figures(written(tmp_path / "study", results({**ALL, **VARIED})), tmp_path / "out")
    assert done.skipped == {}
    assert [path.name for path in done.files] == [
        f"{name}.{form}" for name, _ in OF_A_STUDY for form in ("png", "svg")
    ]
    for path in done.files:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert picture.width == 1020
                assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 10
        else:
            assert path.read_text().startswith("<?xml")


@pytest.mark.thorough
def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    """Also under another order of the runs, and under somebody's own matplotlib settings, which are
    left as they were."""
    data = results(
        {
            "lmeraser": ("lmeraser", {}),
            "random-mean": ("random-mean", {}),
            "one-head": ("one-head", {}),
        },
        (0, 1, 2),
    )
    first = study_figures(written(tmp_path / "a", data), tmp_path / "a/figures")
    turned = {
        **data,
        "runs": {
            name: dict(reversed(runs.items())) for name, runs in reversed(data["runs"].items())
        },
    }
    assert study(turned) == study(data)
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.hashsalt": None}):
        second = study_figures(written(tmp_path / "b", turned), tmp_path / "b/figures")
        assert mpl.rcParams["font.size"] == 20
    assert len(first.files) == len(second.files) == 2 * len(OF_A_STUDY)
    for one, other in zip(first.files, second.files, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_what_results_lack_is_not_drawn(tmp_path: Path) -> None:
    """A single system, measured no further than its accuracy and cost: the figures that are skipped
    say what to do."""
    data = results({"lmeraser": ("lmeraser", {})}, (0,))
    run = data["runs"]["lmeraser"]["0"]
    del run["curve"]
    run["forget"] = []
    done = study_figures(written(tmp_path / "study", data), tmp_path / "out")
    drawn_of = {path.stem for path in done.files}
    assert drawn_of == {"affected_by_a_deletion", "frontier", "frontier_of_people"}
    assert "--curves" in done.skipped["accuracy_over_epochs"]
    assert "--curves COUNT" in done.skipped["average_accuracy"]
    assert "--forget" in done.skipped["ratio_and_prompts"]
    assert "--vary partition.shards" in done.skipped["ratio_and_prompts"]
    assert "--forget" in done.skipped["retained_accuracy"]
    assert "random-hash or random-mean" in done.skipped["random_against_adaptive"]
    assert "one-head" in done.skipped["one_head_against_many"]


def test_without_test_records(tmp_path: Path) -> None:
    data = results({"lmeraser": ("lmeraser", {})}, (0,))
    data["runs"]["lmeraser"]["0"]["accuracy"]["test"] = None
    data["runs"]["lmeraser"]["0"]["forget"] = [
        {"share": share, "accuracy": {"test": None, "retained": 0.9}} for share in (0.0, 0.5)
    ]
    done = study_figures(written(tmp_path / "study", data), tmp_path / "out")
    assert "test accuracy" in done.skipped["frontier"]
    assert "affected_by_a_deletion.png" in {path.name for path in done.files}
    assert "ratio_and_prompts" in done.skipped


@pytest.mark.parametrize(
    "broken",
    [
        {},
        [],
        {"variants": {"a": {}}},
        {"variants": {"a": {"system": "a", "changes": {}}}, "runs": {"a": {}}},
    ],
)
def test_a_file_that_is_something_else(tmp_path: Path, broken: object) -> None:
    folder = tmp_path / "study"
    (folder / "runs").mkdir(parents=True)
    (folder / "compare.json").write_text(json.dumps(broken))
    with pytest.raises(DataError, match=r"compare\.json is not what"):
        study_figures(folder, tmp_path / "out")


def test_no_results_yet(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lmeraser compare --study"):
        study_figures(tmp_path, tmp_path / "out")


def test_a_line_is_the_mean_and_its_band_the_seeds() -> None:
    data = results({"lmeraser": ("lmeraser", {}), "ridge": ("ridge", {})})
    axes = drawn(accuracy_over_epochs(study(data))).axes[0]
    curves = np.array([run["curve"] for run in data["runs"]["lmeraser"].values()])
    assert lines(axes)[1, 2, 3, 4, 5, 6] == [rounded(curves.mean(0))]
    band = axes.collections[0].get_paths()[0].vertices[:, 1]  # type: ignore[index]
    assert (min(band), max(band)) == pytest.approx((curves.min(), curves.max()))
    ridge = np.mean([run["accuracy"]["test"] for run in data["runs"]["ridge"].values()])
    assert lines(axes)[1, 6] == [rounded([ridge, ridge])]
    assert {"lmeraser", "ridge"} == set(texts(axes))


def test_a_figure_says_of_how_many_runs_its_lines_are() -> None:
    """A course of one seed is no mean."""
    data = results({"lmeraser": ("lmeraser", {}), "sisa": ("sisa", {})})
    figure = drawn(accuracy_over_epochs(study(data)))
    assert "the mean of 3 runs" in " ".join(figure.get_supxlabel().split())
    for runs in data["runs"].values():
        del runs["1"]["curve"], runs["2"]["curve"]
    figure = drawn(accuracy_over_epochs(study(data)))
    assert "A line is one run, that of the first seed" in " ".join(figure.get_supxlabel().split())


def test_the_average_accuracy_stands_beside_its_runs() -> None:
    """Fig. 4: every run's line on the left, their mean on the right; a system without epochs, or
    with one run, has neither."""
    data = results({"lmeraser": ("lmeraser", {}), "ridge": ("ridge", {}), "one": ("sisa", {})})
    for seed in ("1", "2"):
        del data["runs"]["one"][seed]["curve"]
    runs, average = drawn(average_accuracy(study(data))).axes
    curves = np.array([run["curve"] for run in data["runs"]["lmeraser"].values()])
    assert lines(runs)[1, 2, 3, 4, 5, 6] == [rounded(curve) for curve in curves]
    assert lines(average)[1, 2, 3, 4, 5, 6] == [rounded(curves.mean(0))]
    assert texts(average) == ["lmeraser"]


def test_ratio_and_prompts() -> None:
    data = results({**VARIED, "sisa": ("sisa", {})})
    ratio, prompts = drawn(ratio_and_prompts(study(data))).axes
    assert len(texts(ratio)) == 9  # every variant was measured after erasing
    assert set(texts(prompts)) == {"lmeraser", "random-mean"}
    means = [
        np.mean([run["accuracy"]["test"] for run in data["runs"][f"lmeraser_shards={k}"].values()])
        for k in (5, 10, 40, 80)
    ]
    assert rounded(means) in lines(prompts)[5, 10, 40, 80]
    erased = [
        np.mean([run["forget"][i]["accuracy"]["test"] for run in data["runs"]["sisa"].values()])
        for i in range(3)
    ]
    assert rounded(erased) in lines(ratio)[0, 0.2, 0.5]
    retained = drawn(retained_accuracy(study(data))).axes[0]
    kept = [
        np.mean([run["forget"][i]["accuracy"]["retained"] for run in data["runs"]["sisa"].values()])
        for i in range(3)
    ]
    assert rounded(kept) in lines(retained)[0, 0.2, 0.5]


def test_a_share_that_one_seed_lacks_is_left_out() -> None:
    """Else the mean would be over fewer seeds there than elsewhere on the line."""
    data = results({"lmeraser": ("lmeraser", {})})
    data["runs"]["lmeraser"]["1"]["forget"].pop()
    assert (0, 0.2) in lines(drawn(retained_accuracy(study(data))).axes[0])


def test_one_panel_where_there_is_one() -> None:
    data = results({**VARIED})
    for runs in data["runs"].values():
        for run in runs.values():
            run["forget"] = []
    assert [axes.get_xlabel() for axes in drawn(ratio_and_prompts(study(data))).axes] == [
        "number of shards (prompts)"
    ]


def test_bars_of_what_is_affected() -> None:
    """20 shards: 718 of 14,370 passes and 50,000 parameters on average; the cheapest on top, so at
    the largest height."""
    data = results({"lmeraser": ("lmeraser", {}), "ridge": ("ridge", {})})
    records, parameters = drawn(affected_by_a_deletion(study(data))).axes
    assert bars(records) == pytest.approx({0.0: 14370, 1.0: 14370 / 20})
    assert bars(parameters) == pytest.approx({0.0: 1e6, 1.0: 5e4})
    assert texts(records) == ["14.4k", "718"]
    assert texts(parameters) == ["1.0M", "50.0k"]
    assert [label.get_text() for label in records.get_yticklabels()] == ["ridge", "lmeraser"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.042, "0.042"),
        (57.2, "57"),
        (1437, "1,437"),
        (12_345, "12.3k"),
        (85_800_000, "85.8M"),
        (2.5e11, "250G"),
    ],
)
def test_numbers_in_three_figures(value: float, text: str) -> None:
    assert short(value) == text


def test_pairs_have_their_intervals() -> None:
    data = results(
        {"random-hash": ("random-hash", {}), "lmeraser": ("lmeraser", {}), "ridge": ("ridge", {})}
    )
    accuracy, cost = drawn(random_against_adaptive(study(data))).axes
    assert [label.get_text() for label in accuracy.get_yticklabels()] == ["random-hash", "lmeraser"]
    mean, half = interval([run["accuracy"]["test"] for run in data["runs"]["lmeraser"].values()])
    assert bars(accuracy)[1.0] == pytest.approx(mean)
    assert half is not None
    whisker = next(
        c.get_segments()[0] for c in accuracy.collections if c.get_segments()[0][0][1] == 1
    )  # type: ignore[attr-defined]
    assert whisker[:, 0].tolist() == pytest.approx([max(mean - half, 0), min(mean + half, 1)])
    assert bars(cost) == pytest.approx({0.0: 0.05, 1.0: 0.05})


LOOK = look(0)
PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12)


@given(PAIRS)
@settings(deadline=None)
def test_what_nothing_beats(pairs: list[tuple[int, int]]) -> None:
    points = [
        FrontierPoint(f"{i}", LOOK, cost / 10, Spread(accuracy / 10, 0, 1, None))
        for i, (cost, accuracy) in enumerate(pairs)
    ]
    best = {point.label for point in pareto(points)}
    for i, (cost, accuracy) in enumerate(pairs):
        beaten = any(c <= cost and a >= accuracy and (c, a) != (cost, accuracy) for c, a in pairs)
        assert (f"{i}" in best) == (not beaten)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20), st.floats(0.01, 0.3))
@settings(deadline=None)
def test_names_at_line_ends_are_apart(wanted: list[float], step: float) -> None:
    """A step apart, in their order, and moved up as much as down; those that had room are left
    where they were."""
    found = apart(np.array(wanted), step)
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(found[order]) >= step - 1e-9).all()
    assert found.sum() == pytest.approx(sum(wanted), abs=1e-9)
    if (np.diff(np.sort(wanted)) >= step).all():
        assert found == pytest.approx(wanted)


def test_names_near_points_are_over_nothing() -> None:
    """Forty points in a heap: no name over another, over a point, over the line, or outside; and
    few without room."""
    rng = np.random.default_rng(1)
    with house_style():
        figure = new_figure(4.0)
        axes = figure.subplots()
        places = rng.normal(0.5, 0.15, (40, 2))
        axes.plot(*places.T, "o", markersize=3.5)
        axes.set(xlim=(-0.2, 1.2), ylim=(-0.2, 1.2))
        unnamed = name_points(
            axes,
            [Named(x, y, f"system-{i}", "black") for i, (x, y) in enumerate(places)],
            avoid=[[(-0.2, 0.4), (1.2, 0.4)]],
        )
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) + len(unnamed) == 40
    assert len(unnamed) <= 4
    window = axes.get_window_extent()
    assert all(
        window.x0 <= box.x0 and box.x1 <= window.x1 and window.y0 <= box.y0 and box.y1 <= window.y1
        for box in boxes
    )
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert not any(
        box.contains(*axes.transData.transform(place)) for box in boxes for place in places
    )
    height = axes.transData.transform((0, 0.4))[1]
    assert not any(box.y0 < height < box.y1 for box in boxes)


def test_the_frontier_names_every_system() -> None:
    data = results({**ALL, **VARIED})
    with house_style():
        figure = drawn(frontier_of_systems(study(data)))
    axes = figure.axes[0]
    expected = {
        *ALL,
        *(f"{system} shards={changes['partition.shards']}" for system, changes in VARIED.values()),
    }
    assert set(texts(axes)) == expected
    with house_style():
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_the_frontier_of_people_is_by_what_a_person_costs() -> None:
    data = results({"lmeraser": ("lmeraser", {}), "ridge": ("ridge", {})})
    for run in data["runs"]["ridge"].values():
        run["cost"]["work"]["person"]["mean_share"] = 0.004
    axes = drawn(frontier_of_people(study(data))).axes[0]
    assert axes.get_xlabel().startswith("work of forgetting a person")
    costs = {round(float(line.get_xdata()[0]), 6) for line in axes.lines[1:]}
    assert costs == {0.004, 0.075}


def test_a_frontier_of_perfect_and_free_systems() -> None:
    """An accuracy of 1 has no finite error, a cost of 0 no logarithm: both are drawn at the
    edge."""
    data = results({"lmeraser": ("lmeraser", {}), "ridge": ("ridge", {})})
    for run in data["runs"]["ridge"].values():
        run["accuracy"]["test"], run["cost"]["expected_share"] = 1.0, 0.0
    figure = drawn(frontier_of_systems(study(data)))
    assert set(texts(figure.axes[0])) == {"lmeraser", "ridge"}
    foot = " ".join(" ".join(text.get_text() for text in figure.texts).split())
    assert "An accuracy of 100% stands at the top." in foot
    drawn_at = [height for line in figure.axes[0].lines[1:] for height in line.get_ydata()]
    assert max(drawn_at) < figure.axes[0].get_ylim()[1], "and no bar runs off"
    assert rendered(figure, "png").startswith(b"\x89PNG")


def test_results_of_an_earlier_release_are_drawn_in_their_own_unit() -> None:
    """They have no work: their costs are records in shards that change, and the axes say so."""
    data = results(ALL)
    new = drawn(frontier_of_systems(study(data)))
    assert new.axes[0].get_xlabel().startswith("work of a deletion")
    assert drawn(affected_by_a_deletion(study(data))).axes[0].get_xlabel().startswith("record pas")
    del data["unit"], data["subject"]["on"]
    for run in (run for runs in data["runs"].values() for run in runs.values()):
        del run["cost"]["work"]
    old = study(data)
    assert not old.in_passes and old.accuracy == "test accuracy"
    assert "shards that change" in drawn(frontier_of_systems(old)).axes[0].get_xlabel()
    assert isinstance(frontier_of_people(old), Missing), "it knew no people"
    figure = drawn(affected_by_a_deletion(old))
    assert figure.axes[0].get_xlabel() == "records"
    assert "Records: of the shards that change." in " ".join(figure.texts[-1].get_text().split())
    data["subject"]["on"] = "validation"
    judged = drawn(frontier_of_systems(study(data))).axes[0]
    assert judged.get_ylabel() == "validation accuracy (%)"


def test_sources_stand_at_the_foot() -> None:
    data = results({"lmeraser": ("lmeraser", {})})
    data["runs"]["lmeraser"]["1"]["records"]["test"] = 359
    found = study(data).source
    assert found == (
        "lmeraser compare; digits, tiny; 1,437 training and 359–360 test records; seeds 0, "
        "1, 2; Some CPU, 2 cores; torch 2.0"
    )
    gpu = deepcopy(data)
    gpu["machine"]["gpu"] = "Some GPU"
    assert "Some GPU, Some CPU" in study(gpu).source


def test_tick_labels_are_at_one_height() -> None:
    """Those of short ticks too, where both have labels."""
    with house_style():
        for axis in ("xtick", "ytick"):
            height = {
                mpl.rcParams[f"{axis}.{kind}.size"] + mpl.rcParams[f"{axis}.{kind}.pad"]
                for kind in ("major", "minor")
            }
            assert len(height) == 1


def test_every_figure_has_a_title() -> None:
    names = [name for name, _ in OF_A_STUDY]
    assert len({title_of(name) for name in names}) == len(names)
    assert all(title_of(name)[0].isupper() and "_" not in title_of(name) for name in names)
