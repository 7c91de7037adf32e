"""`lmeraser train --print_config` prints the configuration that a training would use, and trains
nothing."""

from pathlib import Path

import yaml

from tests.support.command_line import Lm, Place


class TestPrintConfig:
    def test_it_is_what_train_would_use(self, lm: Lm, made: Place, tmp_path: Path) -> None:
        said = lm(
            "train",
            "--config",
            made.config,
            "--learner.epochs",
            "7",
            "--workspace",
            tmp_path / "w",
            "--print_config",
        )
        assert said.code == 0
        tree = yaml.safe_load(said.out)
        assert (tree["learner"]["epochs"], tree["learner"]["prompt"]["width"]) == (7, 2)
        assert not (tmp_path / "w").exists()
        again = tmp_path / "again.yaml"
        again.write_text(said.out)
        assert lm("train", "--config", again, "--print_config").out == said.out

    def test_without_arguments_it_is_the_quickstart(self, lm: Lm) -> None:
        tree = yaml.safe_load(lm("train", "--print_config").out)
        assert tree["data"]["source"] == "digits"
        assert tree["backbone"]["weights"] == "embedded"
