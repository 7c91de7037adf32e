"""The front: every verb that works in a workspace is a method, and does what the verb does."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from lmeraser_ray import Workspace
from lmeraser_ray.cli.verbs import VERBS
from lmeraser_ray.erasure.requests.events import Event
from lmeraser_ray.errors import ConfigError, ExecutionError
from lmeraser_ray.pipeline.progress import Progress
from tests.support.world import World, picture

ELSEWHERE = {"queue": "work_off", "demo": None, "diversity": None}
"""`queue run` has another name; the others are no operations: a demonstration, and a study."""


def test_every_verb_that_works_in_a_workspace_is_a_method() -> None:
    verbs = [verb.name for verb in VERBS.values() if verb.folder == "workspace"]
    wanted = {name: ELSEWHERE.get(name, name) for name in verbs}
    assert [
        name for name, method in wanted.items() if method and not hasattr(Workspace, method)
    ] == []
    assert set(ELSEWHERE) <= set(verbs)
    public = {name for name in vars(Workspace) if not name.startswith("_")}
    assert public == {method for method in wanted.values() if method} | {"overview"}


@pytest.mark.parametrize("verb", [name for name in VERBS if hasattr(Workspace, name)])
def test_what_a_verb_can_be_told_its_method_can_be_told(verb: str) -> None:
    """Each option is a parameter, but for files that stand for a value and where output goes."""
    other = {
        "train": {"config": "config", "system": "config", "print_config": "config"},
        "unlearn": {"file": "records", "subjects_file": "subjects"},
        "submit": {"file": "records", "subjects_file": "subjects"},
        "wait": {"timeout": "timeout_s"},
        "certificate": {"output": "request"},
        "verify": {"certificate": "rebuild", "public_key": "rebuild"},
        "audit": {"head": "against"},
        "keys": {"keys": "folder"},
    }.get(verb, {})
    parameters = set(inspect.signature(getattr(Workspace, verb)).parameters)
    for argument in VERBS[verb].arguments:
        name = argument.dest or argument.name.removeprefix("--")
        assert other.get(name, name) in parameters, name


def test_a_workspace_from_training_to_its_restoration(tmp_path: Path, world: World) -> None:
    """Each method once, in the order of a workspace's life."""
    space = Workspace(tmp_path / "w")
    assert repr(space) == f"Workspace({str(tmp_path / 'w')!r})"
    with pytest.raises(ConfigError, match="no workspace"):
        space.fingerprint()
    trained = space.train(world.config())
    assert space.fingerprint() == trained.manifest.fingerprint == space.evaluate().fingerprint
    assert len(space.predict([picture(1), picture(2)]).predictions.labels) == 2
    assert space.cost(world.ids[:1]).costs.touched.tolist() != [0]
    done = space.unlearn(records=world.ids[:1], quarantine=True)
    assert done.removed == 1
    found = space.certificate(done.request.id)
    assert found.checked and found.keyid == space.keys().signs
    waiting = [space.submit(subjects=[f"person-{at}"], key=str(at)) for at in (5, 6, 7)]
    assert space.submit(subjects=["person-5"], key="5") == waiting[0]
    assert space.cancel(waiting[0].id).state == "CANCELLED"
    assert space.refuse(waiting[1].id, "a legal hold").reason == "a legal hold"
    assert space.extend(waiting[2].id, "many requests").extended_at
    assert space.overview(first=2).open == 1
    with pytest.raises(ExecutionError):
        space.wait(waiting[2].id, timeout_s=0)
    with pytest.raises(ConfigError, match="only from FAILED"):
        space.retry(waiting[2].id)
    events: list[Event] = []
    assert space.work_off(say=events.append).as_json()["certified"] == 1
    assert any(event.what == "certified" for event in events)
    assert space.status(waiting[2].id) == space.wait(waiting[2].id)
    assert space.audit(rebuild=True).ok and space.verify(rebuild=True).ok
    made = space.backup(to=tmp_path / "b.tar", erasures=tmp_path / "e")
    assert (made.fingerprint, made.erasures) == (space.fingerprint(), 4), "3 records, 1 subject"
    again = Workspace.restore(tmp_path / "again", tmp_path / "b.tar", erasures=tmp_path / "e")
    assert again.fingerprint() == space.fingerprint()


def test_overrides_and_progress_are_those_of_every_call(tmp_path: Path, world: World) -> None:
    progress = Progress(quiet=True)
    Workspace(tmp_path / "w", progress=progress).train(world.config())
    assert {"training", "publish"} <= set(progress.seconds)
    with pytest.raises(ConfigError, match=r"--learner\.epochs would change"):
        Workspace(tmp_path / "w", overrides=[("learner.epochs", "9")]).evaluate()


def test_importing_it_brings_no_torch() -> None:
    program = (
        "import sys; from lmeraser_ray import Workspace; Workspace('W'); "
        "print(*{'torch', 'ray', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"\n"
