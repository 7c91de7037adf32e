"""The configurations of the paper's data sets."""

from pathlib import Path

import pytest
import yaml

from lmeraser_ray.config import Config

PAPER = sorted((Path(__file__).parents[2] / "configs" / "paper").glob("*.yaml"))


class TestPaperConfigurations:
    def test_there_are_four(self) -> None:
        assert [path.stem for path in PAPER] == ["cifar10", "cifar100", "gtsrb", "svhn"]

    @pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
    def test_settings_are_the_papers(self, path: Path) -> None:
        text = path.read_text()
        config = Config.model_validate(yaml.safe_load(text))
        assert text.startswith(f"# lmeraser train --config configs/paper/{path.name} ")
        clusters = {"cifar10": 194, "cifar100": 347, "svhn": 30, "gtsrb": 90}[path.stem]
        assert (
            f"finds {clusters} clusters at threshold 10. Not run here: no weights, no data" in text
        )
        assert config.data.source == path.stem
        assert (
            config.backbone.resize,
            config.backbone.input_size,
            config.backbone.readout.pool,
        ) == (256, 224, "token")
        partition = config.partition.model_dump()
        assert partition["kind"] == "adaptive"
        assert [partition[name] for name in ("linkage", "threshold", "shards", "sample_size")] == [
            "average",
            10,
            None,
            1000,
        ]
        learner = config.learner.model_dump()
        assert [
            learner[name] for name in ("optimizer", "momentum", "warmup", "epochs", "batch")
        ] == ["sgd", 0.9, 0.2, 50, 128]
        assert [learner["prompt"][name] for name in ("kind", "width", "init")] == [
            "padding",
            30,
            "random",
        ]
        assert (config.aggregation.kind, getattr(config.aggregation, "shards", None)) == (
            "nearest",
            1,
        )

    def test_backbones_are_timms(self) -> None:
        import timm

        pretrained = set(timm.list_pretrained())
        for path in PAPER:
            lines = path.read_text().splitlines()
            options = [
                line.split("--backbone.name ")[1].split()[0]
                for line in lines
                if "--backbone.name " in line
            ]
            assert len(options) == 5
            assert {yaml.safe_load("\n".join(lines))["backbone"]["name"], *options} <= pretrained
