"""Figures of a workspace: pictures of its shards, and its prompts. They show private records."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from lmeraser_ray.cli.figures import run_figures
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.reader import Reader
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.operations.learned_prompts import around_grey, in_pixels, largest
from lmeraser_ray.operations.single_costs import shards_in
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.study.diversity import diversity
from lmeraser_ray.study.figure.sheets import SheetRow, mosaic, sheets
from lmeraser_ray.study.figure.style import house_style
from lmeraser_ray.study.figures import (
    MEMBERS,
    by_hash,
    members_of,
    pixels_of,
    prompts_figure,
    workspace_figures,
)
from tests.support.studies import drawn, results, trained, written
from tests.support.systems import blend
from tests.support.world import World


def test_a_row_holds_members_of_its_shard(world: World) -> None:
    session = trained(world, world.config(learner={"kind": "class_means"}))
    manifest, config, store = (
        session.folder.require_published(),
        session.config(),
        session.folder.store,
    )
    index = RecordIndex.read(store, [state.bucket for state in manifest.buckets])
    shard_of, order = shards_in(store, config, manifest, index), by_hash(index, 0, "members")
    chosen = [manifest.shards[place] for place in largest(manifest, 3)]
    assert [shard.size for shard in chosen] == sorted(
        (shard.size for shard in manifest.shards), reverse=True
    )[:3]
    found = members_of(shard_of, order, chosen)
    for shard, members in zip(chosen, found, strict=True):
        assert len(set(members.tolist())) == min(shard.size, MEMBERS)
        assert (shard_of[members] == shard.number).all()
    assert sorted(order.tolist()) == list(range(len(index.training)))


def test_pictures_come_in_the_order_that_they_are_asked_in(world: World) -> None:
    session = trained(world, world.config(learner={"kind": "class_means"}))
    manifest, store = session.folder.require_published(), session.folder.store
    index = RecordIndex.read(store, [state.bucket for state in manifest.buckets])
    reader = Reader(store, manifest.backbone.spec, session.config().data.max_pixels)
    asked = np.array([30, 2, 17, 5, 38, 0], np.int64)
    each = [pixels_of(reader, index, asked[[at]])[0] for at in range(len(asked))]
    assert np.array_equal(pixels_of(reader, index, asked), np.stack(each))


def test_sheets_and_prompts_of_a_workspace(world: World, tmp_path: Path) -> None:
    session = trained(world, world.config())
    first = workspace_figures(session, tmp_path / "a")
    assert [path.name for path in first.files] == [
        "shard_members.png",
        "shard_members.svg",
        "prompts.png",
        "prompts.svg",
    ]
    assert first.skipped == {}
    second = workspace_figures(session, tmp_path / "b")
    assert [path.read_bytes() for path in first.files] == [
        path.read_bytes() for path in second.files
    ]


@pytest.mark.parametrize("kind", ["shared_head", "class_means"])
def test_joint_prompts_and_none(world: World, tmp_path: Path, kind: str) -> None:
    session = trained(
        world,
        world.config(learner={"kind": kind, **({"epochs": 1} if kind == "shared_head" else {})}),
    )
    done = workspace_figures(session, tmp_path / "out")
    assert done.skipped == (
        {} if kind == "shared_head" else {"prompts": "a class_means constituent has no prompt"}
    )


@pytest.mark.parametrize("kind", ["shared_head", "prompt_head"])
def test_each_shard_has_its_own_prompt(world: World, kind: str) -> None:
    """The largest first, and of a constituent that stands with every shard the shard's own prompt;
    single classes are left out."""
    session = trained(
        world,
        world.config(learner={"kind": kind, "epochs": 1, "prompt": {"width": 2, "init": "random"}}),
    )
    manifest, store = session.folder.require_published(), session.folder.store
    with house_style():
        figure = drawn(prompts_figure(store, session.config(), manifest))
    expected = {}
    for place, shard in enumerate(manifest.shards):
        constituent = Constituent.from_bytes(store.read(shard.constituent))
        if len(constituent.classes) > 1:
            tensor = constituent.tensors["prompt"][place if kind == "shared_head" else 0]
            expected[f"shard {shard.number} · {shard.size}"] = in_pixels(
                tensor, manifest.backbone.spec.std
            )
    scale = max(np.abs(change).max() for change in expected.values())
    found = {axes.get_title(): axes.images[0].get_array() for axes in figure.axes if axes.images}
    assert len(found) > 1
    assert found.keys() == expected.keys()
    for name, picture in found.items():
        assert np.array_equal(np.asarray(picture), around_grey(expected[name], scale))
    sizes = [int(name.rpartition(" ")[2]) for name in found]
    assert sizes == sorted(sizes, reverse=True)


def test_the_pictures_stay_out_of_the_workspace(world: World) -> None:
    """A workspace refuses whatever is not its own, so a folder of pictures in it would stop the
    next training."""
    session = trained(world, world.config(learner={"kind": "class_means"}))
    with pytest.raises(ConfigError, match="within the workspace"):
        workspace_figures(session, session.root / "figures")


def test_the_verb_says_that_pictures_are_private(world: World, tmp_path: Path) -> None:
    session = trained(world, world.config(learner={"kind": "class_means"}))
    args = Namespace(
        study=Path("study"), workspace=session.root, out=tmp_path / "out", overrides=()
    )
    report = run_figures(args, Progress(quiet=True))
    assert "private records" in report.notes[0]
    assert report.data is not None
    assert [Path(path).name for path in report.data["files"]] == [
        "shard_members.png",
        "shard_members.svg",
    ]
    for wrong, words in (({"out": None}, "needs --out"), ({"study": tmp_path}, "both given")):
        with pytest.raises(ConfigError, match=words):
            run_figures(Namespace(**{**vars(args), **wrong}), Progress(quiet=True))
    data = results({"lmeraser": ("lmeraser", {})}, (0,))
    of_study = Namespace(
        study=written(tmp_path / "study", data), workspace=None, out=None, overrides=()
    )
    with pytest.raises(ConfigError, match=r"--learner\.epochs changes nothing"):
        run_figures(
            Namespace(**{**vars(of_study), "overrides": (("learner.epochs", "3"),)}),
            Progress(quiet=True),
        )
    report = run_figures(of_study, Progress(quiet=True))
    assert report.notes == ()
    assert (tmp_path / "study/figures/frontier.svg").exists()
    assert "one_head_against_many was not drawn: there is no system one-head" in report.text


def test_a_mosaic_has_every_picture_in_its_place() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 256, (count, 3, 20, 20)).astype(np.uint8) for count in (3, 1)]
    whole = mosaic(rows, 4)
    assert whole.shape == (2 * 22, 4 * 22, 3)
    for at, row in enumerate(rows):
        for column, picture in enumerate(row):
            assert (
                whole[at * 22 : at * 22 + 20, column * 22 : column * 22 + 20]
                == picture.transpose(1, 2, 0)
            ).all()
    assert (whole[22:, 22:] == 255).all()
    assert mosaic([np.zeros((1, 3, 224, 224), np.uint8)], 1).shape == (96 + 8, 96 + 8, 3)


def test_a_prompt_in_pixels(world: World) -> None:
    """(x + p') / 255 normalised is x / 255 normalised plus p, for what `in_pixels` says p adds;
    nothing is grey, the largest is full."""
    session = trained(world, world.config(learner={"epochs": 1}))
    manifest = session.folder.require_published()
    prompt = Constituent.from_bytes(
        session.folder.store.read(manifest.shards[0].constituent)
    ).tensors["prompt"][0]
    spec = manifest.backbone.spec
    change = in_pixels(prompt, spec.std)
    mean, std = (np.array(values)[:, None, None] for values in (spec.mean, spec.std))
    assert ((100 + change) / 255 - mean) / std == pytest.approx(
        (100 / 255 - mean) / std + prompt, abs=1e-5
    )
    picture = around_grey(np.array([[[0.0, 5.0]], [[-5.0, 0.0]], [[2.5, 0.0]]], np.float32), 5.0)
    assert picture.tolist() == [[[128, 0, 191], [255, 128, 128]]]


@pytest.mark.parametrize("columns", [1, 2, 3, 12])
def test_a_sheet_of_few_columns_is_no_tower(columns: int) -> None:
    """Sixteen rows of one picture each were 13 inches, or 4,000 pixels."""
    rows = [SheetRow(f"shard {at}", np.zeros((columns, 3, 8, 8), np.uint8)) for at in range(8)]
    assert sheets(rows, rows, "source").get_size_inches()[1] <= 6


def test_a_blend_shows_the_shards_of_its_first_system(world: World) -> None:
    """The one shard of the ridge holds all records, and has no prompt."""
    ways = (("random", "padding", "mean", 1.0), ("one", "ridge", "mean", 1.0))
    session = trained(world, blend(world, *ways))
    manifest = session.folder.require_published()
    shown = [manifest.shards[place] for place in largest(manifest, len(manifest.shards))]
    assert sorted(shard.number for shard in shown) == list(range(len(manifest.shards) - 1))
    done = workspace_figures(session, world.folder / "figures")
    assert done.skipped == {}
    assert diversity(session, pairs=100).shards == len(shown)
