"""What `recommend` tries: every named system under its dials, whatever presets there are."""

from pathlib import Path

import pytest

from lmeraser_ray.config import presets
from lmeraser_ray.config.options import read_yaml
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.study import candidates as module
from lmeraser_ray.study.candidates import candidates

QUICKSTART = read_yaml(Path("quickstart"))
RIDGE = ["ridge penalty=0.01", "ridge penalty=0.03", "ridge penalty=0.1"]


def names(*systems: str, overrides: tuple[tuple[str, str], ...] = ()) -> list[str]:
    return [each.name for each in candidates(QUICKSTART, overrides, systems or ("all",))[0]]


def test_every_named_system_is_a_candidate() -> None:
    found, unsuited = candidates(QUICKSTART, [])
    tried = {dict(each.changes)["system"] for each in found}
    assert tried | set(unsuited) == set(presets.names())
    assert [each.name for each in found if each.name.startswith("ridge ")] == RIDGE
    identities = [str(each.config().identity()) for each in found]
    assert len(identities) == len(set(identities)), "nothing is tried twice"


def test_what_a_person_sets_is_no_dial() -> None:
    assert names("ridge") == RIDGE
    assert names("ridge", overrides=(("learner.penalty", "3"),)) == ["ridge"]
    base = {**QUICKSTART, "partition": {"shards": 12}}
    [only], _ = candidates(base, [], ["lmeraser"])
    assert (only.name, only.config().partition.shards) == ("lmeraser", 12)


def test_neither_a_missing_preset_nor_a_missing_field_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dials = {
        "not-there-yet": (("learner.penalty", ["1"]),),
        "ridge": (("learner.not_there_yet", ["1"]), ("learner.epochs", ["1"])),
    }
    monkeypatch.setattr(module, "DIALS", dials)
    assert names("ridge") == ["ridge"]
    assert names()


def test_a_system_that_the_configuration_does_not_suit_is_said() -> None:
    """SISA's files: a configuration may set a field to what a system refuses."""
    found, unsuited = candidates(
        QUICKSTART, [("aggregation.kind", "nearest")], ["ridge", "lmeraser"]
    )
    assert {each.name.split()[0] for each in found} == {"lmeraser"}
    assert "random partition" in unsuited["ridge"]
    with pytest.raises(ConfigError, match=r"No system suits: .*random partition"):
        candidates(QUICKSTART, [("aggregation.kind", "nearest")], ["ridge"])


def test_a_file_is_a_system_and_an_unknown_name_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        "partition: {kind: random, shards: 2}\nlearner: {kind: ridge}\naggregation: {kind: all}\n"
    )
    assert names(str(own), "class-means") == ["own", "class-means"]
    with pytest.raises(ConfigError, match="did you mean ridge"):
        names("rigde")
    with pytest.raises(TypeError, match="expected several"):
        candidates(QUICKSTART, [], "ridge")
