"""A text alone is never taken for its letters, wherever Python code names several of anything."""

import inspect
from collections import UserString
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from lmeraser_ray import Workspace
from lmeraser_ray.config import Config
from lmeraser_ray.config.options import load_config, override
from lmeraser_ray.config.quickstart import QUICKSTART
from lmeraser_ray.erasure.requests.targets import ErasureTargets, parse_targets, read_targets
from lmeraser_ray.operations.predict import predict
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.study.candidates import candidates
from lmeraser_ray.study.compare import CompareRequest
from lmeraser_ray.study.sweep import SweepRequest
from lmeraser_ray.study.variants import sweep_variants, variants
from tests.support.world import World, picture

NOWHERE = Path("no/workspace")
PLURAL = ("Sequence[", "Iterable[", "Collection[", "Set[", "list[", "tuple[")
TAKERS: dict[str, Callable[..., object]] = {
    "Workspace.__init__.overrides": lambda text: Workspace(NOWHERE, overrides=text),
    "Workspace.predict.images": lambda text: Workspace(NOWHERE).predict(text),
    "Workspace.compare.systems": lambda text: Workspace(NOWHERE).compare("s", systems=text),
    "Workspace.compare.seeds": lambda text: Workspace(NOWHERE).compare("s", seeds=text),
    "Workspace.compare.forget": lambda text: Workspace(NOWHERE).compare("s", forget=text),
    "Workspace.compare.vary": lambda text: Workspace(NOWHERE).compare("s", vary={"seed": text}),
    "Workspace.sweep.values": lambda text: Workspace(NOWHERE).sweep("s", values={"seed": text}),
    "Workspace.recommend.systems": lambda text: Workspace(NOWHERE).recommend("s", systems=text),
    "Workspace.cost.records": lambda text: Workspace(NOWHERE).cost(text),
    "Workspace.unlearn.records": lambda text: Workspace(NOWHERE).unlearn(records=text),
    "Workspace.unlearn.subjects": lambda text: Workspace(NOWHERE).unlearn(subjects=text),
    "Workspace.submit.records": lambda text: Workspace(NOWHERE).submit(records=text),
    "Workspace.submit.subjects": lambda text: Workspace(NOWHERE).submit(subjects=text),
    "Workspace.cost.subjects": lambda text: Workspace(NOWHERE).cost(subjects=text),
    "Workspace.cost.additions": lambda text: Workspace(NOWHERE).cost(additions=text),
    "Workspace.cost.batches": lambda text: Workspace(NOWHERE).cost(batches=text),
    "predict": lambda text: predict(Session(NOWHERE), text),
    "Session": lambda text: Session(NOWHERE, overrides=text),
    "records of targets": lambda text: ErasureTargets(records=text),
    "subjects of targets": lambda text: ErasureTargets(subjects=text),
    "records to parse": lambda text: parse_targets(text, []),
    "subjects to parse": lambda text: parse_targets([], text),
    "targets with files": lambda text: read_targets(text, [], None, None),
    "load_config": lambda text: load_config(None, text),
    "override": lambda text: override(Config(), text),
    "an override": lambda text: load_config(None, [text]),
    "systems": lambda text: variants(QUICKSTART, text, [], []),
    "varied": lambda text: variants(QUICKSTART, ["ridge"], [], text),
    "overrides of systems": lambda text: variants(QUICKSTART, ["ridge"], text, []),
    "overrides of a sweep": lambda text: sweep_variants(QUICKSTART, text, []),
    "tried": lambda text: candidates(QUICKSTART, [], text),
    "swept": lambda text: sweep_variants(QUICKSTART, [], [("partition.shards", text)]),
    "seeds": lambda text: CompareRequest([], seeds=text),
    "compared": lambda text: CompareRequest(text, seeds=[0]),
    "values": SweepRequest,
}


@pytest.mark.parametrize("text", ["", "12", b"12", bytearray(b"12"), UserString("12"), 12, None])
@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_a_bare_text_is_a_type_error(take: Callable[[object], object], text: object) -> None:
    with pytest.raises(TypeError, match="expected"):
        take(text)


def test_every_argument_of_a_workspace_that_takes_several_is_tried() -> None:
    found = {
        f"Workspace.{name}.{parameter.name}"
        for name, method in inspect.getmembers(Workspace, callable)
        if name == "__init__" or not name.startswith("_")
        for parameter in inspect.signature(method).parameters.values()
        if any(word in str(parameter.annotation) for word in PLURAL)
    }
    found -= {"Workspace.sweep.thresholds"}  # three numbers
    found |= {"Workspace.predict.images"}  # of any kind
    assert found == {name for name in TAKERS if name.startswith("Workspace.")}


def test_nobody_is_erased_by_a_bare_text(tmp_path: Path, world: World) -> None:
    """Persons whose names are letters of the text that another person is named by."""
    space = Workspace(tmp_path / "w")
    train(space.session, world.config())
    before = space.fingerprint()
    for text in ("12", b"12", "person-3", world.ids[0]):
        for name in ("records", "subjects"):
            with pytest.raises(TypeError, match=f"{name} is a bare"):
                space.unlearn(**{name: text})
    assert space.fingerprint() == before
    assert space.overview().open == 0


@pytest.mark.parametrize("made", [list, tuple, set, frozenset, iter, dict.fromkeys])
def test_any_collection_is_taken(made: Callable[[list[str]], Iterable[str]]) -> None:
    names = ["12", "7"]
    assert sorted(ErasureTargets(records=made(names)).records) == sorted(names)
    assert sorted(ErasureTargets(subjects=made(names)).subjects) == sorted(names)


@pytest.mark.parametrize("value", [b"12", 12, None, ["12"], Path("12")])
def test_each_of_several_is_a_text(value: object) -> None:
    with pytest.raises(TypeError, match="expected each to be a str"):
        ErasureTargets(records=["7", value])  # type: ignore[list-item]


def test_pictures_are_asked_for_by_a_generator_too(tmp_path: Path, world: World) -> None:
    space = Workspace(tmp_path / "w")
    space.train(world.config())
    asked = space.predict(picture(at) for at in (1, 2))
    assert len(asked.predictions.labels) == 2
