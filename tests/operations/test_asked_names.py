"""People who are asked for in another form of their name: found, or told what looks the same."""

import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmeraser_ray import Workspace
from lmeraser_ray.data import ids
from lmeraser_ray.errors import DataError
from tests.support.world import World

HIDDEN = "\u200b"
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))


def with_people(world: World, *people: str) -> World:
    """The world in which the first subjects have these names."""
    for at, name in enumerate(people):
        for row in (2 * at, 2 * at + 1):
            world.subjects[row], world.ids[row] = name, f"{name}/picture-{row}"
    columns = {"record_id": world.ids, "subject_id": world.subjects, "label": world.labels}
    pq.write_table(pa.table(columns | {"image": world.images}), world.path)
    return world


def trained(world: World, folder: Path, *people: str) -> Workspace:
    space = Workspace(folder)
    space.train(with_people(world, *people).config())
    return space


@pytest.fixture
def old(tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace of a release that accepted what nobody sees."""
    with monkeypatch.context() as patch:
        patch.setattr(ids, "unseen", lambda _: "")
        return trained(world, tmp_path / "w", f"ann{HIDDEN}", "bob", f"carl{HIDDEN}")


@pytest.mark.parametrize(("held", "asked"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_a_person_is_found_under_the_other_form(
    held: str, asked: str, tmp_path: Path, world: World
) -> None:
    space = trained(world, tmp_path / "w", held)
    assert space.cost([f"{asked}/picture-0"]).costs.touched.size in (0, 1)  # 0: a test record
    done = space.unlearn(subjects=[asked], records=[f"{asked}/picture-1"])
    assert (done.removed, done.already) == (2, ())
    assert space.unlearn(subjects=[asked]).already == (COMPOSED,)


def test_what_an_old_release_accepted_is_erased(old: Workspace, world: World) -> None:
    assert old.unlearn(subjects=[f"ann{HIDDEN}"]).removed == 2
    assert old.unlearn(records=[world.ids[4]]).removed == 1
    again = old.unlearn(subjects=[f"ann{HIDDEN}"], records=[world.ids[4]])
    assert (again.removed, len(again.already)) == (0, 2)
    assert old.submit(subjects=[f"carl{HIDDEN}"]).state == "RECEIVED"
    assert old.work_off().as_json()["certified"] == 1


@pytest.mark.parametrize("name", [f"ann{HIDDEN}\u2060", f"bob{HIDDEN}", f"{HIDDEN}bob", HIDDEN])
def test_a_name_with_what_nobody_sees_that_nobody_has_is_refused(old: Workspace, name: str) -> None:
    for kind in ("subjects", "records"):
        for ask in (old.unlearn, old.submit):
            with pytest.raises(DataError, match=r"U\+.*nobody sees") as caught:
                ask(**{kind: [name]})
            assert "nothing was changed" in str(caught.value)
            assert ("looks the same" in str(caught.value)) == (
                kind == "subjects" and name != HIDDEN
            )
    assert old.overview().open == 0


@pytest.mark.parametrize(
    ("held", "asked", "apart"),
    [
        ("\ufb01ona", "fiona", "U+FB01 LATIN SMALL LIGATURE FI"),
        ("fiona", "\ufb01ona", "U+FB01 LATIN SMALL LIGATURE FI"),
        ("a b", "a\u00a0b", "U+00A0 NO-BREAK SPACE"),
        ("\uff41nn", "ann", "U+FF41 FULLWIDTH LATIN SMALL LETTER A"),
    ],
)
def test_one_that_looks_the_same_is_told_and_no_other_name(
    held: str, asked: str, apart: str, tmp_path: Path, world: World
) -> None:
    space = trained(world, tmp_path / "w", held, "secret")
    with pytest.raises(DataError, match="looks the same is held") as caught:
        space.unlearn(subjects=[asked])
    assert apart in str(caught.value)
    assert held not in str(caught.value).replace(asked, "") and "secret" not in str(caught.value)
    with pytest.raises(DataError, match="looks the same is held"):
        space.cost([f"{asked}/picture-0"])
    with pytest.raises(DataError) as caught:
        space.unlearn(subjects=["secre"])
    assert "looks the same" not in str(caught.value)


def test_the_hidden_one_of_an_old_release_is_told_to_who_asks_for_the_plain_one(
    old: Workspace,
) -> None:
    with pytest.raises(DataError, match=r"differ in U\+200B ZERO WIDTH SPACE"):
        old.unlearn(subjects=["ann"])


def test_an_old_release_s_records_are_not_trained_again(old: Workspace, world: World) -> None:
    with pytest.raises(DataError, match="remove it where it was erased"):
        old.train(world.config())


def test_training_says_which_names_differ_by_normalisation_only(
    tmp_path: Path, world: World
) -> None:
    world.labels[:3] = ["c\uff41t", "cat", "cat"]
    space = Workspace(tmp_path / "w")
    done = space.train(with_people(world, "\ufb01ona", "fiona").config())
    classes, people = done.ingested.alike
    assert "'c\\uff41t'" in classes and "'cat'" in classes
    assert "differ by Unicode normalisation only" in classes and "normalisation" in people
    assert "2 subjects" in people and "ona" not in people


def test_training_says_which_class_folders_are_one_class(tmp_path: Path, world: World) -> None:
    for at in range(12):
        label = (COMPOSED, DECOMPOSED, "dog")[at % 3]
        (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / label / f"{at}.png").write_bytes(world.images[at])
    data = {"source": "folder", "path": str(tmp_path / "data"), "subject_column": None}
    done = Workspace(tmp_path / "w").train(world.config(data=data))
    [said] = done.ingested.alike
    assert "'Zo\\xeb' and 'Zoe\\u0308'" in said or "'Zoe\\u0308' and 'Zo\\xeb'" in said
    assert "they are one class" in said
