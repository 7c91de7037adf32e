"""`Workspace.train(data=…)` with records in memory, and what later asks for them again."""

from pathlib import Path

import pandas as pd
import pytest

from lmeraser_ray import Workspace
from lmeraser_ray.cli.main import run
from lmeraser_ray.config.options import to_yaml
from lmeraser_ray.errors import ConfigError, DataError
from tests.support.world import World, merged


def frame(world: World, *, but: int = 0) -> pd.DataFrame:
    columns = {"record_id": world.ids, "label": world.labels, "image": world.images}
    return pd.DataFrame({**columns, "subject_id": world.subjects}).iloc[but:]


def tree(world: World) -> dict[str, object]:
    found: object = world.config().model_dump(mode="json", exclude_unset=True)
    assert isinstance(found, dict)
    return found


def test_records_take_the_place_of_those_that_a_file_names(world: World, tmp_path: Path) -> None:
    """The other fields of the section hold: here the subjects and the number of buckets."""
    (tmp_path / "my.yaml").write_text(to_yaml(world.config()))
    first = Workspace(tmp_path / "a").train(tmp_path / "my.yaml")
    for given in (tree(world), world.config(), tmp_path / "my.yaml"):
        done = Workspace(tmp_path / "b").train(given, data=frame(world))
        assert done.manifest.fingerprint == first.manifest.fingerprint
    kept = Workspace(tmp_path / "b").session.config().data
    assert (kept.source, kept.path, kept.buckets) == ("memory", None, 4)


@pytest.mark.parametrize("field", ["path", "source", "test_path"])
def test_one_place_of_records(world: World, tmp_path: Path, field: str) -> None:
    fields = {"records": frame(world), field: "parquet"}
    with pytest.raises(ConfigError, match=rf"data\.{field} names records, and others are given"):
        Workspace(tmp_path / "w").train(tree(world), data=fields)
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("data", ["pictures", b"pictures", Path("pictures"), 3])
def test_a_bare_value_is_no_records(world: World, tmp_path: Path, data: object) -> None:
    for given in (data, {"records": data}):
        with pytest.raises(TypeError, match="data is a bare"):
            Workspace(tmp_path / "w").train(tree(world), data=given)
    assert not (tmp_path / "w").exists()


def test_what_is_wrong_leaves_no_workspace(world: World, tmp_path: Path) -> None:
    wrong = frame(world)
    wrong.loc[5, "image"] = b"broken"
    with pytest.raises(DataError, match="the records in memory, row 5: "):
        Workspace(tmp_path / "w").train(tree(world), data=wrong)
    assert not (tmp_path / "w").exists()


def test_a_record_that_is_missing_is_refused(world: World, tmp_path: Path) -> None:
    space = Workspace(tmp_path / "w")
    space.train(tree(world), data=frame(world))
    with pytest.raises(DataError, match=r"holds record 'person-0/picture-0', which the source no"):
        space.train(tree(world), data=frame(world, but=1))
    done = space.train(tree(world), data={"records": frame(world, but=1), "allow_missing": True})
    only = Workspace(tmp_path / "only").train(tree(world), data=frame(world, but=1))
    assert done.manifest.fingerprint == only.manifest.fingerprint


def test_what_reads_the_source_again_says_so(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A study, and a training by the command line; the rest of a workspace's life needs no
    source."""
    space = Workspace(tmp_path / "w")
    space.train(tree(world), data=frame(world))
    sentence = "train from that program, or write the records to Parquet"
    with pytest.raises(ConfigError, match=sentence):
        space.sweep(tmp_path / "s", values={"partition.shards": [2, 4]})
    assert not (tmp_path / "s").exists()
    memory = merged(tree(world), {"data": {"source": "memory", "path": None}})
    (tmp_path / "my.yaml").write_text(to_yaml(type(world.config()).model_validate(memory)))
    for command in (
        ["train", "--config", str(tmp_path / "my.yaml")],
        ["sweep", "--study", str(tmp_path / "s"), "--thresholds", "1:2:2"],
    ):
        asked = [*command, "--workspace", str(tmp_path / "w")]
        assert run(argv=asked) == ConfigError.exit_code
        assert sentence in capsys.readouterr().err
    assert space.unlearn(records=world.ids[:1]).request.state == "CERTIFIED"
    assert space.verify(rebuild=True).ok and space.audit(rebuild=True).ok
    space.backup(to=tmp_path / "b.tar", erasures=tmp_path / "e")
    again = Workspace.restore(tmp_path / "again", tmp_path / "b.tar", erasures=tmp_path / "e")
    assert again.fingerprint() == space.fingerprint()
    assert len(again.predict(frame(world)).names) == len(world.ids)
