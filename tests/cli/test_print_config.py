"""`lmeraser train --print_config` prints the configuration that a training would use, and trains
nothing."""

from pathlib import Path

import yaml

from lmeraser_ray.cli.train import standing_notes
from lmeraser_ray.config import Config
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
        printed = lm("train", "--config", again, "--print_config").out
        assert yaml.safe_load(printed) == tree

    def test_without_arguments_it_is_the_defaults(self, lm: Lm) -> None:
        printed = lm("train", "--print_config").out
        assert yaml.safe_load(printed) == Config().model_dump(mode="json")
        assert printed.count("# default") == printed.count(" # ")

    def test_it_says_where_each_value_is_from(self, lm: Lm, made: Place) -> None:
        """A file stands over a system, an option over both."""
        words = ("--system", "ridge-shards", "--partition.linkage", "single")
        said = lm("train", "--config", made.config, *words, "--print_config").out
        for name, wanted in (("shards: 4", f"# file {made.config}:"), ("single", "# option")):
            [line] = [line for line in said.splitlines() if name in line]
            assert wanted in line


def test_a_file_that_chooses_a_system_of_its_own_says_that_it_stands_over_the_named_one(
    tmp_path: Path,
) -> None:
    """`--config quickstart --system ridge` had trained the quickstart's prompts without a word."""
    [note] = standing_notes("ridge", Path("quickstart"))
    assert note.startswith("partition, learner, aggregation of quickstart stand over the system")
    file = tmp_path / "mine.yaml"
    file.write_text("partition: {shards: 12}")
    assert standing_notes("ridge", file) == standing_notes(None, file) == ()
    assert standing_notes("ridge", None) == ()
