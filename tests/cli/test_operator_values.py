"""A workspace, or a backup, chooses no machine that a process connects to and no file that it
loads: only options, a named configuration file and the environment do."""

import json
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from lmeraser_ray.config import Config
from lmeraser_ray.config.options import FIELDS, load_config, sections_in
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.operations.workspace import Workspace
from lmeraser_ray.pipeline.session import Session
from tests.support.command_line import Lm, Place

HOSTILE = {
    "execution": {"address": "ray://evil.example:10001"},
    "queue": {"database": "postgresql://evil.example/erasures"},
    "backbone": {"weights": "/net/evil.example/weights.pth"},
}
NAMES = {"execution.address", "queue.database", "backbone.weights"}
READ_AS_DATA = {
    *(f"data.{name}" for name in ("path", "test_path", "subjects_file", "exclude", "permanent")),
    *("data.readmit", "data.readmit_subjects", "sweep.path", "sweep.record", "partition.path"),
}
"""Files of pictures, ids and records of sweeps: only the verbs that ingest read them."""
WORDS = {
    *(f"data.{name}_column" for name in ("id", "label", "image", "subject", "permanent")),
    "data.subject_pattern",
    "backbone.name",  # of timm's own list
}


def poison(root: Path) -> None:
    """Write hostile values into a workspace's configuration, as who can write there may."""
    path = root / "configuration.json"
    tree = json.loads(path.read_text())
    for section, values in HOSTILE.items():
        tree[section] |= values
    path.write_text(json.dumps(tree))


def texts(model: type[BaseModel], prefix: str = "") -> set[str]:
    """The fields that hold free text or a path."""
    found = set()
    for name, field in model.model_fields.items():
        for section in sections_in(field.annotation):
            found |= texts(section, f"{prefix}{name}.")
        parts = {field.annotation, *get_args(field.annotation)}
        plain = {part for part in parts if get_origin(part) is not Literal}
        if {str, Path} & plain:
            found.add(f"{prefix}{name}")
    return found


def test_each_text_in_the_configuration_was_looked_at() -> None:
    """A new field of text or a path is a decision: does it make a process connect or load?"""
    assert texts(Config) == NAMES | READ_AS_DATA | WORDS
    assert set(FIELDS) >= NAMES


def test_nothing_of_the_kind_is_taken_from_a_workspace(place: Place) -> None:
    poison(place.root)
    config = Session(place.root).config()
    assert config.execution.address is None
    assert config.queue.database is None
    assert config.backbone.weights == "file"
    given = (("execution.address", "auto"), ("backbone.weights", "random"))
    config = Session(place.root, overrides=given).config()
    assert (config.execution.address, config.backbone.weights) == ("auto", "random")


def test_nothing_of_the_kind_is_kept(place: Place, tmp_path: Path) -> None:
    config = load_config(place.config, [("execution.address", "ray://mine.example:10001")])
    Workspace(tmp_path / "w").train(config)
    kept = json.loads((tmp_path / "w" / "configuration.json").read_text())
    assert kept["execution"]["address"] is None
    assert kept["backbone"]["weights"] == "random"


def test_commands_say_what_they_did_not_take(lm: Lm, place: Place) -> None:
    """And do their work; whoever means a value gives it."""
    poison(place.root)
    said = lm("status", "--workspace", place.root)
    assert said.code == 0
    assert all(f"give --{name}." in said.err for name in NAMES)
    assert said.err.count("note:") == 3
    said = lm("fingerprint", "--workspace", place.root, "--execution.address", "auto")
    assert said.code == 0
    assert "execution.address" not in said.err
    said = lm("evaluate", "--workspace", place.root)
    assert (said.code, "give the same file by --backbone.weights" in said.err) == (2, True)
    assert lm("evaluate", "--workspace", place.root, "--backbone.weights", "random").code == 0


def test_a_restore_shows_what_the_backup_names_and_takes_none(
    lm: Lm, place: Place, tmp_path: Path
) -> None:
    poison(place.root)
    assert lm("backup", "--workspace", place.root, "--to", tmp_path / "b.tar").code == 0
    words = ("restore", "--workspace", tmp_path / "new", "--from", tmp_path / "b.tar", "--json")
    said = lm(*words, "--no_later_erasures", "--backbone.weights", "random")
    assert said.code == 0, said.err
    assert set(said.json["not_taken"]) == NAMES
    assert all(f"--{name}" in said.err for name in NAMES)
    kept = (tmp_path / "new" / "configuration.json").read_text()
    assert "evil" not in kept


def test_a_password_is_refused_where_it_would_be_seen(place: Place, tmp_path: Path) -> None:
    config = load_config(place.config, [("queue.database", "postgresql://me:hush@host/db")])
    with pytest.raises(ConfigError, match="holds a password") as caught:
        Workspace(tmp_path / "w").train(config)
    assert "hush" not in str(caught.value)
