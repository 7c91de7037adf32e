"""Defaults < system < file < options, always; and each value says which of them it is from."""

from pathlib import Path

import pytest
import yaml

from lmeraser_ray.config import Config
from lmeraser_ray.config.options import load_config, override, print_config
from lmeraser_ray.errors import ConfigError


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A file that sets some fields of sections that systems set too."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        "seed: 3\npartition:\n  shards: 12\nbackbone: {readout: {pool: token}}\nlearner:\n"
    )
    return path


def origins(printed: str) -> dict[str, str]:
    """Where each value is from, by dotted name, as `print_config` says it."""
    found, path = {}, []
    for line in printed.splitlines():
        key, _, rest = line.strip().partition(":")
        depth = (len(line) - len(line.lstrip())) // 2
        path = [*path[:depth], key.strip("'")]
        if " # " in rest:
            found[".".join(path)] = rest.rpartition(" # ")[2]
    return found


def test_one_set_of_defaults(tmp_path: Path) -> None:
    """Nothing but the data is said: the same values with a file and without."""
    path = tmp_path / "data.yaml"
    path.write_text("data: {source: folder, path: pictures}\n")
    data = [("data.source", "folder"), ("data.path", "pictures")]
    assert load_config(path, []) == load_config(None, data)
    assert load_config(None, []) == Config()


def test_a_file_stands_over_a_system(written: Path) -> None:
    config = load_config(written, [], system="ridge-shards")
    assert config.partition.shards == 12
    assert config.partition.sample_size == 150  # type: ignore[union-attr]
    assert config.learner.kind == "ridge"
    assert config.backbone.readout.pool == "token"


def test_options_stand_over_both(written: Path) -> None:
    pairs = [("partition.shards", "7"), ("learner.penalty", "0.5")]
    config = load_config(written, pairs, system="ridge-shards")
    assert (config.partition.shards, config.seed) == (7, 3)


def test_a_file_that_chooses_another_kind_begins_the_section_anew(tmp_path: Path) -> None:
    path = tmp_path / "kind.yaml"
    path.write_text(
        "partition: {kind: random, shards: 3}\nlearner: {kind: linear_probe}\n"
        "aggregation: {kind: all}\n"
    )
    assert load_config(path, [], system="lmeraser") == load_config(path, [])


@pytest.mark.parametrize(
    ("system", "text", "pairs", "cut"),
    [
        ("paper", "partition: {shards: 12}", [], (None, 12)),
        ("lmeraser", "partition: {threshold: 5}", [], (5.0, None)),
        ("lmeraser", "", [("partition.threshold", "5")], (5.0, None)),
        ("lmeraser", "partition: {shards: null}", [], (None, None)),
        ("paper", "partition: {threshold: 3, shards: null}", [], (3.0, None)),
    ],
)
def test_a_cut_takes_the_place_of_the_other_one(
    tmp_path: Path,
    system: str,
    text: str,
    pairs: list[tuple[str, str]],
    cut: tuple[float | None, int | None],
) -> None:
    """A partition is cut by a threshold or into shards: who sets one means that one."""
    path = tmp_path / "cut.yaml"
    path.write_text(text)
    found = load_config(path, pairs, system=system).partition
    assert (found.threshold, found.shards) == cut  # type: ignore[union-attr]


def test_an_override_of_a_whole_configuration_does_too() -> None:
    cut = override(load_config(Path("quickstart"), []), [("partition.threshold", "5")])
    assert (cut.partition.threshold, cut.partition.shards) == (5.0, None)  # type: ignore[union-attr]


def test_each_value_says_where_it_is_from(written: Path) -> None:
    """Default, system, the line of the file, or an option: for every field."""
    printed = print_config(written, [("partition.linkage", "average")], system="ridge-shards")
    found = origins(printed)
    assert found["data.source"] == "default"
    assert found["partition.sample_size"] == "system ridge-shards"
    assert found["partition.shards"] == f"file {written}:3"
    assert found["backbone.readout.pool"] == f"file {written}:4"
    assert found["seed"] == f"file {written}:1"
    assert found["partition.linkage"] == "option"
    assert found["learner.slices"] == "default"
    config = load_config(written, [("partition.linkage", "average")], system="ridge-shards")
    assert yaml.safe_load(printed) == config.model_dump(mode="json")
    leaves = [line for line in printed.splitlines() if not line.endswith(":")]
    assert all(" # " in line for line in leaves)


def test_the_quickstart_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of that name comes first."""
    monkeypatch.chdir(tmp_path)
    found = origins(print_config(Path("quickstart"), []))
    assert found["partition.shards"] == "configuration quickstart"
    Path("quickstart").write_text("partition: {shards: 3}\n")
    assert load_config(Path("quickstart"), []).partition.shards == 3


def test_a_mistake_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("seed: 1\nlearner:\n  epochs: three\n")
    with pytest.raises(
        ConfigError, match=r"learner.epochs is 'three' in file .*wrong.yaml:3, expected"
    ):
        load_config(path, [])
