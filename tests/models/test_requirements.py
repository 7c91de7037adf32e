"""What a learner, a partition or an aggregation asks of the backbone and the configuration is asked
before any record is read, by every command that trains."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lmeraser_ray.cli.main import run as run_command
from lmeraser_ray.config import Config
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.backbone import load_backbone
from lmeraser_ray.models.numerics import choose_device
from lmeraser_ray.models.requirements import check_requirements
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.study.attack import AttackRequest, attack
from lmeraser_ray.study.compare import CompareRequest, compare
from lmeraser_ray.study.sweep import SweepRequest, sweep
from lmeraser_ray.study.variants import Variant
from tests.support.world import TINY, World, merged

Tree = dict[str, Any]


def prompted(kind: str, /, **prompt: object) -> Tree:
    return {"learner": {"kind": kind, "prompt": prompt}}


def closed(kind: str, quantum: float, normalize: str) -> Tree:
    readout = {"normalize": normalize}
    return {"learner": {"kind": kind, "quantum": quantum}, "backbone": {"readout": readout}}


def wide(kind: str, size: int) -> Tree:
    """Pictures of size x size pixels read as a map: 16 · (size / 4)² numbers a feature."""
    backbone = {"input_size": size, "readout": {"pool": "flatten"}}
    return {"learner": {"kind": kind}, "backbone": backbone}


CASES: dict[str, tuple[Tree, str]] = {
    "a frame above half of the picture": (
        prompted("prompt_head", width=9),
        "learner.prompt.width is 9, but a padding prompt has at most 8",
    ),
    "a patch above the picture": (
        prompted("prompt_head", kind="fixed_patch", width=17),
        "a fixed_patch prompt has at most 16",
    ),
    "a moving patch above the picture": (
        prompted("prompt_head", kind="random_patch", width=17),
        "a random_patch prompt has at most 16",
    ),
    "a frame of one head for all": (prompted("shared_head", width=9), "at most 8"),
    "a frame of label mapping": (prompted("label_mapping", width=9), "at most 8"),
    "a crop that leaves nothing": ({"learner": {"crop": 16}}, "learner.crop is 16"),
    "a crop that leaves nothing to a whole model": (
        {"learner": {"kind": "whole_model", "crop": 16}},
        "learner.crop is 16",
    ),
    "a grid too coarse for unit length": (
        closed("class_means", 2.0, "l2"),
        "learner.quantum is 2.*rounded to 0",
    ),
    "a grid too coarse for unit variance": (
        closed("neighbors", 8.0, "layer"),
        "learner.quantum is 8.*rounded to 0",
    ),
    "a grid too fine for unit length": (closed("ridge", 1e-6, "l2"), "learner.quantum is 1e-06"),
    "a grid too fine for unit variance": (
        closed("class_means", 1e-5, "layer"),
        "learner.quantum is 1e-05",
    ),
    "features too long for exact distances": (wide("neighbors", 1600), "2560000 numbers.*2097152"),
    "features too long for exact products": (wide("ridge", 3000), "9000000 numbers.*8388608"),
    "no classifier to map labels to": (
        {
            "learner": {"kind": "label_mapping"},
            "backbone": {"name": "resnet18.a1_in1k", "weights": "no-such-file.pth"},
        },
        "no-such-file",
    ),
    "a layer that the backbone lacks": (
        {"backbone": {"readout": {"layer": 7}}},
        "cannot be read at layer 7",
    ),
    "a token that the backbone lacks": ({"backbone": {"readout": {"pool": "token"}}}, "a map"),
    "a size that the backbone cannot divide": (
        {"backbone": {"name": "maxvit_pico_rw_256", "input_size": 20}},
        "backbone.name maxvit_pico_rw_256",
    ),
    "a crop of the picture above its size": (
        {"backbone": {"resize": 8}},
        "backbone.resize 8 is smaller",
    ),
    "no model of that name": ({"backbone": {"name": "tinny"}}, "is not a timm model"),
    "a device that is not there": ({"execution": {"device": "cuda"}}, "execution.device is cuda"),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Tree, str]:
    return CASES[request.param]


def tree_of(change: Tree, folder: Path) -> Tree:
    """The tiny configuration with a change; its records do not exist."""
    tree = json.loads(json.dumps(TINY))
    for section, values in change.items():
        tree[section] = values if "kind" in values else merged(tree.get(section), values)
    tree["data"]["path"] = str(folder / "there-are-no-records.parquet")
    return tree


def run_train(tree: Tree, root: Path) -> None:
    train(Session(root), Config.model_validate(tree))


def run_compare(tree: Tree, root: Path) -> None:
    done = compare(Session(root), CompareRequest([Variant("one", "one", (), tree, ())], [0, 1]))
    for reason in done.failed.values():  # the command line exits with 2 then
        raise ConfigError(reason)


def run_sweep(tree: Tree, root: Path) -> None:
    sweep(Session(root), SweepRequest([Variant("one", "one", (), tree, ())]))


def run_attack(tree: Tree, root: Path) -> None:
    attack(Session(root), AttackRequest("one", Config.model_validate(tree)))


@pytest.mark.parametrize("run", [run_train, run_compare, run_sweep, run_attack])
def test_refused_before_any_record_is_read_and_anything_is_written(
    run: Callable[[Tree, Path], None],
    case: tuple[Tree, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    change, reason = case
    with pytest.raises(ConfigError, match=reason):
        run(tree_of(change, tmp_path), tmp_path / "workspace")
    assert list(tmp_path.iterdir()) == []


def test_without_a_fault_the_records_are_read(tmp_path: Path) -> None:
    """The control: it is the requirements that refuse above, and not the missing records."""
    for run in (run_train, run_attack, run_sweep, run_compare):
        with pytest.raises(Exception, match=r"there-are-no-records\.parquet"):
            run(tree_of({}, tmp_path), tmp_path / run.__name__)


def test_the_command_line_exits_with_2_and_leaves_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there are records: that there are none is told first, without a backbone."""
    file, records = tmp_path / "system.yaml", tmp_path / "there-are-no-records.parquet"
    file.write_text(yaml.safe_dump(tree_of(prompted("prompt_head", width=9), tmp_path)))
    words = ["--workspace", str(tmp_path / "space"), "--config", str(file)]
    assert run_command("train", words) == 3
    records.write_bytes(World(tmp_path / "world").path.read_bytes())
    capsys.readouterr()
    assert run_command("train", words) == 2
    assert "learner.prompt.width is 9" in capsys.readouterr().err
    assert not (tmp_path / "space").exists()


def test_one_that_fits_is_measured_and_the_other_is_named_first(tmp_path: Path) -> None:
    """The records are missing, so the fitting system fails; the other one was refused before."""
    said: list[str] = []
    session = Session(tmp_path / "study")
    session.progress.say = said.append  # type: ignore[method-assign]
    fits, not_fits = tree_of({}, tmp_path), tree_of(prompted("prompt_head", width=9), tmp_path)
    with pytest.raises(Exception, match=r"there-are-no-records\.parquet"):
        compare(
            session,
            CompareRequest(
                [Variant("fits", "s", (), fits, ()), Variant("not", "s", (), not_fits, ())], [0]
            ),
        )
    assert any("not was not measured: learner.prompt.width is 9" in line for line in said)


class TestLabels:
    """More labels than the backbone has classes: said once the records are known, before
    features."""

    @pytest.mark.parametrize("run", [run_train, run_compare, run_sweep, run_attack])
    def test_refused_before_features(
        self, run: Callable[[Tree, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = World(tmp_path / "world", n=60, classes=12)
        computed: list[object] = []
        monkeypatch.setattr(
            "lmeraser_ray.models.backbone.Backbone.features",
            lambda self, pictures: computed.append(pictures),
        )
        tree = tree_of({"learner": {"kind": "label_mapping", "prompt": {"width": 2}}}, tmp_path)
        tree["data"]["path"] = str(world.path)
        root = tmp_path / "workspace"
        with pytest.raises(ConfigError, match="10 classes, the training records have 12 labels"):
            run(tree, root)
        assert not computed
        assert not (root / "config.json").exists()


class TestBackbone:
    def test_features_that_are_not_finite_are_refused(self) -> None:
        config = Config.model_validate({"backbone": TINY["backbone"]})
        backbone = load_backbone(config.backbone, choose_device("cpu"))
        check_requirements(config, backbone)
        backbone.module.stem.bias.fill_(float("nan"))
        with pytest.raises(ConfigError, match="not finite: check"):
            check_requirements(config, backbone)


class TestDevice:
    def test_a_cluster_is_not_asked(self) -> None:
        """The workers of a cluster may have what this machine lacks."""
        config = Config.model_validate(
            {"backbone": TINY["backbone"], "execution": {"engine": "ray", "device": "cuda"},
             "learner": {"prompt": {"width": 2}}}
        )  # fmt: skip
        check_requirements(config, load_backbone(config.backbone, choose_device("cpu")))

    def test_bfloat16_where_the_gpu_has_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        config = Config.model_validate(
            {"backbone": TINY["backbone"], "execution": {"engine": "inline"},
             "learner": {"prompt": {"width": 2}, "dtype": "bfloat16"}}
        )  # fmt: skip
        backbone = load_backbone(config.backbone, choose_device("cpu"))
        check_requirements(config, backbone)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
        with pytest.raises(ConfigError, match="dtype is bfloat16"):
            check_requirements(config, backbone)


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": {"std": [0.5, 0.0, 0.5]}},
        {"execution": {"task_gpus": 1.5}},
        {"execution": {"feature_gpus": 2.25}},
    ],
    ids=str,
)
def test_what_no_backbone_can_do_is_refused_with_the_configuration(
    change: Tree, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=next(iter(next(iter(change.values()))))):
        Config.model_validate(tree_of(change, tmp_path))


def test_what_is_clipped_is_not_refused(tmp_path: Path) -> None:
    """Shards become fewer by deletions: a number that the configuration calls "at most" is no
    fault."""
    world = World(tmp_path / "world", n=20)
    few = world.config(
        partition={"sample_size": 1, "shards": 4}, aggregation={"kind": "nearest", "shards": 9}
    )
    assert len(train(Session(world.space()), few).manifest.shards) == 1
