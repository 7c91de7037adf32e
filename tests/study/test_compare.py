"""The comparison: real runs of several systems in one store, tables that say what was measured, and
a study that resumes."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.operations.work_units import interval
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.study.compare import CompareRequest, Comparison, compare
from lmeraser_ray.study.comparison_table import UNITS, columns_on
from lmeraser_ray.study.measure import Extent
from lmeraser_ray.study.study_folder import StudyFolder
from lmeraser_ray.study.variants import Variant, variants
from tests.support.comparison import SMALL, question
from tests.support.world import Recorder, World


def run(
    world: World, asked: CompareRequest, recorder: Recorder, root: Path | None = None
) -> Comparison:
    return compare(recorder.session(root or world.folder / "study"), asked)


@pytest.mark.thorough
def test_every_system_is_measured_and_the_table_says_what(world: World) -> None:
    recorder = Recorder()
    names = ["lmeraser", "sisa", "one-head", "ridge", "random-hash"]
    done = run(
        world, question(world, names, extent=Extent(2, 3, (0.0, 0.5)), seeds=[0, 1]), recorder
    )
    assert set(done.systems) == set(names)
    for name in names:
        for seed in (0, 1):
            found = done.runs[name][seed]
            assert found["records"]["training"] + found["records"]["test"] == len(world.ids)
            assert 0 <= found["accuracy"]["test"] <= 1
            assert len(found["deletion"]["single"]) == 2
            assert found["deletion"]["together"]["records"] == 3
            assert [part["share"] for part in found["forget"]] == [0.0, 0.5]
            assert found["forget"][0]["trained"] == 0, "nothing was erased"
            assert found["forget"][1]["records"] == round(0.5 * found["records"]["training"])
    work = done.runs["one-head"][0]["cost"]["work"]
    assert work["record"]["members"] == done.runs["one-head"][0]["records"]["training"] - 1
    assert set(work) == {"record", "person", "batch 1%", "batch 10%", "adding 1%"}
    for unit, words in UNITS.items():
        cell = done.systems["ridge"][f"work of {words}, mean"]
        assert cell["mean"] == pytest.approx(
            np.mean(
                [run["cost"]["work"][unit]["mean_share"] for run in done.runs["ridge"].values()]
            )
        )
    assert done.systems["ridge"]["backbone passes a query, at most"]["mean"] == 1.0
    assert (
        done.systems["sisa"]["backbone passes a query, at most"]["mean"]
        == done.runs["sisa"][0]["shards"]
    )
    rows = list(csv.DictReader(io.StringIO((world.folder / "study" / "compare.csv").read_text())))
    assert [row["system"] for row in rows] == names
    assert float(rows[0]["test accuracy"]) == done.systems[names[0]]["test accuracy"]["mean"]
    assert (world.folder / "study" / "compare.md").read_text().count("\n| ") == len(names) + 1
    written = json.loads((world.folder / "study" / "compare.json").read_text())
    assert written["systems"].keys() == done.systems.keys()
    assert "torch" in written["machine"]
    assert "Accuracy is on test records." in (world.folder / "study" / "compare.md").read_text()
    assert done.caption.endswith("A person of ten: one person (2 records).")


def test_validation_holds_people_out_of_the_training_records(world: World) -> None:
    """No test record is read, no person is on both sides, and the table says on what."""
    asked = question(world, ["linear-probe"], on="validation", extent=Extent(0, 0))
    tested = question(world, ["linear-probe"], extent=Extent(0, 0))
    [one] = run(world, asked, Recorder()).runs["linear-probe"].values()
    written = json.loads((world.folder / "study" / "compare.json").read_text())
    assert written["subject"]["on"] == "validation" and written["unit"] == "work"
    assert "validation accuracy" in written["systems"]["linear-probe"]
    [other] = run(world, tested, Recorder()).runs["linear-probe"].values()
    assert one["records"]["training"] + one["records"]["test"] == other["records"]["training"]
    both = json.loads((world.folder / "study" / "compare.json").read_text())
    assert both["subject"]["on"] == "test" and list(both["runs"]["linear-probe"]) == ["0"]


def test_results_name_no_record_and_the_records_go(world: World) -> None:
    run(world, question(world, ["ridge"]), Recorder())
    root = world.folder / "study"
    assert not (root / "work").exists()
    text = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    assert not any(name.encode() in text for name in (*world.ids, *world.subjects))


def test_what_was_measured_is_not_measured_again(world: World) -> None:
    first = run(world, question(world, ["lmeraser", "ridge"]), Recorder())
    recorder = Recorder()
    again = run(world, question(world, ["ridge", "lmeraser"]), recorder)
    assert recorder.trained == []
    assert again.runs == first.runs
    run(world, question(world, ["ridge"], extent=Extent(2, 3)), recorder)
    assert recorder.trained, "another extent is another measurement"


def test_an_interrupted_study_goes_on(world: World) -> None:
    asked = question(world, ["ridge", "lmeraser"])

    class Stopped(Recorder):
        def __call__(self, store, config, card):
            if config.learner.kind == "prompt_head":
                raise KeyboardInterrupt
            return super().__call__(store, config, card)

    with pytest.raises(KeyboardInterrupt):
        run(world, asked, Stopped())
    [kept] = [path.name for path in (world.folder / "study" / "runs").iterdir()]
    assert kept == "ridge.0.json"
    recorder = Recorder()
    done = run(world, asked, recorder)
    assert set(done.systems) == {"ridge", "lmeraser"}
    known = json.loads((world.folder / "study" / "runs" / "ridge.0.json").read_text())["result"]
    assert done.runs["ridge"][0] == known


def test_systems_share_features_and_equal_constituents(world: World) -> None:
    recorder = Recorder()
    done = run(world, question(world, ["random-hash", "random-mean"], seeds=[1]), recorder)
    one, other = done.runs["random-hash"][1], done.runs["random-mean"][1]
    assert one["training"]["reused"] == 0 < one["training"]["trained"]
    assert other["training"] == {
        **one["training"],
        "seconds": None,
        "passes": 0,
        "trained": 0,
        "reused": one["training"]["trained"],
    }
    assert recorder.features == len(world.ids)
    assert other["deletion"]["single"][0]["trained"] == 1, "each system erases records of its own"


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["lmeraser", "sisa", "one-head", "linear-probe", "ridge", "blend"])
def test_a_curve_ends_where_the_training_does(world: World, name: str) -> None:
    done = run(world, question(world, [name], curves=True, seeds=[3, 4]), Recorder())
    curve = done.runs[name][3]["curve"]
    assert curve[-1] == done.runs[name][3]["accuracy"]["test"]
    assert len(curve) == {"ridge": 1, "sisa": len(curve)}.get(name, 2)
    assert "curve" not in done.runs[name][4], "one seed shows the course"


def test_as_many_seeds_show_the_course_as_were_asked_for() -> None:
    asked = [CompareRequest([], [3, 4, 5], curves=count) for count in (0, 1, 2, 9)]
    assert [[one.curve(seed) for seed in (3, 4, 5)] for one in asked] == [
        [False, False, False],
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


@pytest.mark.thorough
def test_varied_values_are_systems_of_their_own(world: World) -> None:
    done = run(
        world, question(world, ["ridge", "lmeraser"], vary=("partition.shards=2,5",)), Recorder()
    )
    assert list(done.systems) == [
        "ridge_partition.shards=2",
        "ridge_partition.shards=5",
        "lmeraser_partition.shards=2",
        "lmeraser_partition.shards=5",
    ]
    assert (
        done.runs["ridge_partition.shards=5"][0]["shards"]
        > done.runs["ridge_partition.shards=2"][0]["shards"]
    )


def test_an_option_reaches_the_systems_that_have_it() -> None:
    found = variants(
        {}, ["ridge", "lmeraser"], [("learner.epochs", "3"), ("data.buckets", "2")], []
    )
    configs: dict[str, Any] = {variant.name: variant.config(0) for variant in found}
    assert configs["lmeraser"].learner.epochs == 3
    assert not hasattr(configs["ridge"].learner, "epochs")
    assert {config.data.buckets for config in configs.values()} == {2}


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="did you mean lmeraser"):
        variants({}, ["lmerasr"], [], [])
    with pytest.raises(ConfigError, match=r"did you mean partition\.shards"):
        variants({}, ["ridge"], [], ["partition.shard=3"])
    with pytest.raises(ConfigError, match="field=value"):
        variants({}, ["ridge"], [], ["partition.shards"])
    [only] = variants({}, ["ridge"], [], ["partition.shards=zero"])
    with pytest.raises(ConfigError, match=r"partition\.shards"):
        only.config(0)


def test_a_folder_of_something_else_is_refused(world: World) -> None:
    root = world.folder / "mine"
    root.mkdir()
    (root / "photo.png").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"photo\.png"):
        compare(Session(root, Progress(quiet=True)), question(world, ["ridge"]))
    with pytest.raises(DataError, match="lmeraser compare"):
        StudyFolder(root).read("compare.json")


def test_an_interval_is_students() -> None:
    mean, half = interval([0.9, 1.0, 1.1])
    assert mean == pytest.approx(1.0)
    assert half == pytest.approx(4.302652729911275 * 0.1 / np.sqrt(3))
    assert interval([0.5]) == (0.5, None)


def test_columns_have_different_names() -> None:
    assert len({column.name for column in columns_on("test")}) == len(columns_on("test"))
    assert all(isinstance(variant, Variant) for variant in variants({}, ["all"], [], []))


def test_a_study_grows_but_does_not_mix_data(world: World) -> None:
    run(world, question(world, ["ridge"]), Recorder())
    assert set(run(world, question(world, ["neighbors"]), Recorder()).systems) == {
        "ridge",
        "neighbors",
    }
    other = World(world.folder / "other", 30)
    assert set(
        run(other, question(other, ["class-means"]), Recorder(), world.folder / "study").systems
    ) == {"class-means"}


def test_an_erasure_that_was_found_done_is_not_timed(world: World) -> None:
    """An interrupted run leaves constituents behind: finding them takes no time, and says
    nothing."""
    asked = question(world, ["lmeraser"], extent=Extent(2, 3), keep=True)
    first = run(world, asked, Recorder()).runs["lmeraser"][0]["deletion"]
    assert all(part["seconds"] is not None for part in (*first["single"], first["together"]))
    for path in (world.folder / "study" / "runs").iterdir():
        path.unlink()
    again = run(world, asked, Recorder())
    assert [part["seconds"] for part in again.runs["lmeraser"][0]["deletion"]["single"]] == [
        None,
        None,
    ]
    assert again.systems["lmeraser"]["seconds for one deletion"]["mean"] is None
    assert again.runs["lmeraser"][0]["training"]["seconds"] is None


@pytest.mark.thorough
def test_different_settings_under_one_name_are_not_averaged(world: World) -> None:
    run(world, question(world, ["lmeraser"], seeds=[0, 1]), Recorder())
    changed = question(world, ["lmeraser"])
    [only] = variants(changed.variants[0].tree, ["lmeraser"], [*SMALL, ("learner.epochs", "1")], [])
    assert set(
        run(world, CompareRequest([only], [0], Extent(1, 3)), Recorder()).runs["lmeraser"]
    ) == {0}


def test_a_kind_that_is_chosen_by_an_option_has_its_fields() -> None:
    overrides = [("learner.kind", "ridge"), ("learner.penalty", "0.5"), ("learner.epochs", "3")]
    [only] = variants({}, ["lmeraser"], overrides, [])
    assert only.config(0).learner.identity()["penalty"] == 0.5


def test_fields_and_files_of_one_name_are_told_apart(world: World) -> None:
    found = variants({}, ["ridge"], [], ["backbone.weights=/a/b.pt"])
    assert "/" not in found[0].name
    both = [
        variants({}, ["lmeraser"], [], [f"{field}=5"])[0].name
        for field in ("partition.shards", "aggregation.shards")
    ]
    assert len(set(both)) == 2
    with pytest.raises(ConfigError, match="would be called"):
        variants({}, ["ridge"], [], ["partition.shards=5,5"])
    path = world.folder / "odd.yaml"
    path.write_text(
        "partition: {kind: random}\nlearner: {kind: ridge}\naggregation: {kind: "
        "all}\nbackbon: {input_size: 32}\n"
    )
    with pytest.raises(ConfigError, match="did you mean backbone"):
        variants({}, [str(path)], [], [])


def test_a_system_that_does_not_fit_does_not_stop_the_others(world: World) -> None:
    base = question(world, ["ridge"])
    wide = variants(
        base.variants[0].tree, ["lmeraser"], [*SMALL[:-1], ("learner.prompt.width", "30")], []
    )
    done = run(world, CompareRequest([*wide, *base.variants], [0], Extent(1, 3)), Recorder())
    assert set(done.systems) == {"ridge"}
    assert "learner.prompt.width is 30" in done.failed["lmeraser"]


def test_kept_records_go_with_the_next_run_that_keeps_none(world: World) -> None:
    asked = question(world, ["ridge"], keep=True)
    run(world, asked, Recorder())
    assert (world.folder / "study" / "work").is_dir()
    run(world, question(world, ["ridge"]), Recorder())
    assert not (world.folder / "study" / "work").exists()
