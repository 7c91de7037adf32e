"""An exported model: it answers as its workspace does, byte for byte, holds nothing of the records,
is not made while an erasure waits, and is refused where it is damaged."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lmeraser_ray import ExportedModel, Workspace
from lmeraser_ray.config import Config
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.errors import ConfigError, DataError, ExecutionError, VerificationError
from lmeraser_ray.operations.evaluate import evaluate
from lmeraser_ray.operations.export import features_in
from lmeraser_ray.operations.exported_model import CARD, CONFIG, TENSORS
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.session import Session
from tests.support.pages import blocks
from tests.support.permanent import common_start
from tests.support.systems import blend, system
from tests.support.world import World, picture

CASES = [
    ("adaptive", "padding", "nearest", 1),
    ("adaptive", "random_patch", "nearest", 3),
    ("adaptive", "shared_head", "nearest", 1),
    ("adaptive", "label_mapping", "mean", 1),
    ("adaptive", "neighbors", "nearest", 1),
    ("random", "whole_model", "vote", 2),
    ("random", "padding", "hash", 1),
    ("random", "linear_probe", "mean", 1),
    ("random", "class_means", "mean", 1),
    ("one", "ridge_relu", "mean", 1),
    ("public", "ridge", "nearest", 1),
]
EMPTY = {"numbers": [], "constituents": [], "cells": None, "prototypes": True}
ONE = {**EMPTY, "numbers": [0], "constituents": [0]}
ASKED = [picture(2000 + at, at % 3) for at in range(11)]


def trained(world: World, config: Config) -> Workspace:
    session = Session(world.space())
    train(session, config)
    return Workspace(session.root)


def assert_same_answers(workspace: Workspace, folder: Path) -> ExportedModel:
    """Every bit of the probabilities, the classes and the shards."""
    model, expected = ExportedModel.load(folder), workspace.predict(ASKED).predictions
    found = model.predict(ASKED)
    assert found.classes == expected.classes == model.classes
    assert found.probabilities.tobytes() == expected.probabilities.tobytes()
    assert np.array_equal(found.routes.shards, expected.routes.shards)
    return model


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}-{case[2]}")
def test_it_answers_as_its_workspace(
    world: World, tmp_path: Path, case: tuple[str, str, str, int]
) -> None:
    workspace = trained(world, system(world, *case))
    workspace.export(tmp_path / "out", with_features=True)
    assert_same_answers(workspace, tmp_path / "out")


def test_a_blend_with_a_bound_does_too(world: World, tmp_path: Path) -> None:
    config = blend(
        world,
        ("adaptive", "padding", "nearest", 1.0),
        ("adaptive", "class_means", "nearest", 0.5),
        ("random", "ridge", "mean", 0.5),
    )
    bounded = config.partition.model_copy(update={"bound": 6})
    workspace = trained(world, config.model_copy(update={"partition": bounded}))
    workspace.export(tmp_path / "out", with_features=True)
    told = json.loads((tmp_path / "out" / CONFIG).read_bytes())
    assert told["systems"][0]["cells"] is not None and len(told["systems"]) == 3
    assert_same_answers(workspace, tmp_path / "out")


def test_a_common_start_does_too(world: World, tmp_path: Path) -> None:
    """Its configuration names permanent records, which no exported model has."""
    workspace = trained(world, world.config(**common_start(world)))
    workspace.export(tmp_path / "out")
    assert_same_answers(workspace, tmp_path / "out")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Workspace, Path]:
    base = tmp_path_factory.mktemp("export")
    world = World(base / "world")
    workspace = trained(world, world.config())
    workspace.export(base / "out", with_features=True)
    return world, workspace, base / "out"


def test_nothing_of_a_record_leaves(exported: tuple[World, Workspace, Path]) -> None:
    """No id, no picture, no feature but for prototypes, no digest of a record and no key that is
    made of these."""
    world, workspace, folder = exported
    session = workspace.session
    manifest, store = session.folder.require_published(), session.folder.store
    index = RecordIndex.read(store, [state.bucket for state in manifest.buckets])
    held = b"\n".join(path.read_bytes() for path in sorted(folder.iterdir()))
    digests = np.concatenate([part.digests for part in index.columns])
    secrets = [
        *(name.encode() for name in (*world.ids, *world.subjects)),
        *(image[40:80] for image in world.images),
        *(bytes(each) for each in digests),
        *(bytes(each).hex().encode() for each in digests),
        *(text.encode() for item in manifest.objects() for text in (item.key, item.sha256)),
        manifest.fingerprint.encode(),
        str(world.folder).encode(),
    ]
    assert len(secrets) > 150 and [each for each in secrets if each in held] == []
    assert sorted(path.name for path in folder.iterdir()) == [CARD, CONFIG, TENSORS]


def test_features_of_one_record_leave_only_when_asked(world: World, tmp_path: Path) -> None:
    config = world.config(partition={"prototype": "medoid"})
    workspace = trained(world, config)
    with pytest.raises(ConfigError, match=r"features of 4 single records.*--with_features"):
        workspace.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    done = workspace.export(tmp_path / "out", with_features=True)
    assert done.features == 4
    assert "4 features of single records" in (tmp_path / "out" / CARD).read_text()


def test_how_many_features_of_one_record_there_are(world: World) -> None:
    """Neighbours all, medoids all, means those of clusters of one, public and random none."""

    def count(*case: Any, **partition: object) -> int:
        session = trained(world, system(world, *case)).session
        manifest, store = session.folder.require_published(), session.folder.store
        return features_in(store, session.config(), manifest)

    manifest = trained(world, system(world, "random", "neighbors", "mean", 1)).session
    assert count("random", "neighbors", "mean", 1) == (
        manifest.folder.require_published().training_records
    )
    assert count("random", "ridge", "mean", 1) == count("public", "ridge", "nearest", 1) == 0
    alone = trained(world, world.config(partition={"sample_size": 4, "shards": 4})).session
    state = alone.folder.require_published()
    assert features_in(alone.folder.store, alone.config(), state) == 4
    whole = trained(world, world.config(partition={"sample_size": 12, "shards": 1})).session
    state = whole.folder.require_published()
    assert features_in(whole.folder.store, whole.config(), state) == 0


def test_nothing_is_exported_while_an_erasure_waits(world: World, tmp_path: Path) -> None:
    workspace = trained(world, system(world, "random", "class_means", "mean", 1))
    request = workspace.submit(records=[world.ids[0]])
    with pytest.raises(ExecutionError, match="not published yet: 1"):
        workspace.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    workspace.cancel(request.id)
    first = workspace.export(tmp_path / "before")
    workspace.unlearn(records=[world.ids[0]])
    second = workspace.export(tmp_path / "after")
    assert first.state != second.state
    assert_same_answers(workspace, tmp_path / "after")
    old = (tmp_path / "before" / TENSORS).read_bytes()
    assert old != (tmp_path / "after" / TENSORS).read_bytes(), "no erasure reaches an export"


def test_the_card(exported: tuple[World, Workspace, Path], tmp_path: Path) -> None:
    world, workspace, folder = exported
    text = (folder / CARD).read_text()
    _, head, body = text.split("---\n", 2)
    told = yaml.safe_load(head)
    [model] = told["model-index"]
    metrics = {each["name"]: each["value"] for each in model["results"][0]["metrics"]}
    quality = evaluate(workspace.session).quality
    assert quality is not None
    for name, found in quality.measures.items():
        assert metrics[f"test {name}"] == round(found.value, 6)
    state = ExportedModel.load(folder).state
    assert model["name"] == f"lmeraser-{state[:12]}" and f"`{state}`" in body
    assert (told["license"], told["library_name"]) == ("other", "lmeraser_ray")
    assert "No erasure reaches this folder" in body and "## What is not claimed" in body
    assert not any(name in text for name in (*world.ids, *world.subjects, *world.labels))
    assert max(map(len, body.splitlines())) < 200 and not re.search("https?:", text)
    shown = yaml.safe_load(card_with(workspace, tmp_path, license_id="apache-2.0"))
    assert shown["license"] == "apache-2.0" and "license_name" not in shown


def card_with(workspace: Workspace, tmp_path: Path, **options: Any) -> str:
    workspace.export(tmp_path / "again", with_features=True, **options)
    return (tmp_path / "again" / CARD).read_text().split("---\n", 2)[1]


def test_the_example_of_the_card_runs(
    exported: tuple[World, Workspace, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, workspace, folder = exported
    [example] = blocks((folder / CARD).read_text(), "python")
    (tmp_path / "picture.png").write_bytes(ASKED[0])
    monkeypatch.chdir(tmp_path)
    exec(example.replace('"DIR"', repr(str(folder))), {})
    assert capsys.readouterr().out == f"{workspace.predict(ASKED[:1]).predictions.labels}\n"


def test_the_same_state_gives_the_same_bytes(
    exported: tuple[World, Workspace, Path], tmp_path: Path
) -> None:
    _, workspace, folder = exported
    workspace.export(tmp_path / "twin", with_features=True)
    for name in (CARD, CONFIG, TENSORS):
        assert (tmp_path / "twin" / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"format": 2}, ConfigError, "format 2"),
        ({"state": "x"}, VerificationError, "at state"),
        ({"sha256": "0" * 64}, VerificationError, "another digest"),
        ({"classes": ["class-0"]}, VerificationError, "classes"),
        ({"constituents": []}, VerificationError, "constituent"),
        ({"systems": []}, VerificationError, "systems"),
        ({"systems": [{**EMPTY, "numbers": [0]}]}, VerificationError, "without a constituent"),
        ({"systems": [{**EMPTY, "cells": [1]}]}, VerificationError, "without a constituent"),
        ({"systems": [{**ONE, "constituents": [99]}]}, VerificationError, "not there"),
        ({"systems": [{**ONE, "cells": [1]}]}, VerificationError, "a cell without a shard"),
        ({"systems": [{**ONE, "prototypes": False}]}, VerificationError, "to be near"),
        ({"systems": [ONE]}, VerificationError, "of another shape"),
        ({"configuration": {"seed": "x"}}, VerificationError, "configuration"),
        ({"more": 1}, VerificationError, "not the JSON"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_export_did_not_write_is_refused(
    exported: tuple[World, Workspace, Path],
    tmp_path: Path,
    change: dict[str, object],
    error: type[Exception],
    words: str,
) -> None:
    copy = copied(exported[2], tmp_path)
    told = json.loads((copy / CONFIG).read_bytes())
    (copy / CONFIG).write_text(json.dumps({**told, **change}))
    with pytest.raises(error, match=words):
        ExportedModel.load(copy)


def copied(folder: Path, to: Path) -> Path:
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_damaged_tensors_are_refused(
    exported: tuple[World, Workspace, Path], tmp_path: Path
) -> None:
    copy = copied(exported[2], tmp_path)
    data = bytearray((copy / TENSORS).read_bytes())
    data[-1] ^= 1
    (copy / TENSORS).write_bytes(data)
    with pytest.raises(VerificationError, match="another digest"):
        ExportedModel.load(copy)
    told = json.loads((copy / CONFIG).read_bytes())
    told["sha256"] = hashlib.sha256(b"nothing").hexdigest()
    (copy / CONFIG).write_text(json.dumps(told))
    (copy / TENSORS).write_bytes(b"nothing")
    with pytest.raises(VerificationError, match="no exported model"):
        ExportedModel.load(copy)
    (copy / TENSORS).unlink()
    with pytest.raises(DataError, match="cannot be read"):
        ExportedModel.load(copy)


def test_a_foreign_configuration_names_no_file(
    exported: tuple[World, Workspace, Path], tmp_path: Path
) -> None:
    """Whoever made the folder does not choose what is loaded."""
    copy = copied(exported[2], tmp_path)
    told = json.loads((copy / CONFIG).read_bytes())
    told["configuration"]["backbone"]["weights"] = "/etc/passwd"
    (copy / CONFIG).write_text(json.dumps(told))
    with pytest.raises(ConfigError, match="weights=FILE"):
        ExportedModel.load(copy)


@pytest.mark.parametrize("license_id", ["", "MIT\nfoo: bar", "a b", "x" * 65])
def test_a_license_is_an_identifier(
    exported: tuple[World, Workspace, Path], tmp_path: Path, license_id: str
) -> None:
    with pytest.raises(ConfigError, match="identifier"):
        exported[1].export(tmp_path / "out", license_id=license_id)


def test_where_nothing_may_be_written(
    exported: tuple[World, Workspace, Path], tmp_path: Path
) -> None:
    _, workspace, folder = exported
    with pytest.raises(ConfigError, match="holds something already"):
        workspace.export(folder)
    with pytest.raises(ConfigError, match="lies within the workspace"):
        workspace.export(Path(str(workspace.session.root)) / "out")
    (tmp_path / "empty").mkdir()
    assert workspace.export(tmp_path / "empty", with_features=True).files[0].exists()
    assert ExportedModel.load(tmp_path / "empty").predict(ASKED[:1]).labels
    with pytest.raises(DataError, match="no picture"):
        ExportedModel.load(folder).predict([])
