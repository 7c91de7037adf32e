"""The front: every verb that works in a workspace is a method, and does what the verb does."""

import inspect
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lmeraser_ray import Workspace
from lmeraser_ray.cli.verbs import VERBS
from lmeraser_ray.config.options import to_yaml
from lmeraser_ray.erasure.requests.events import Event
from lmeraser_ray.errors import ConfigError, ExecutionError
from lmeraser_ray.pipeline.progress import Progress
from tests.support.world import World, picture

ELSEWHERE = {"queue": "work_off", **dict.fromkeys(("demo", "inspect", "completion", "serve"))}
"""`queue run` has another name; a service lives as long as a process; the others are about no
workspace: a demonstration, what lies at a path, a script for a shell."""
BESIDES = {"overview", "predict_each", "history"}
"""What a verb does in two ways is two methods."""


def test_every_verb_is_a_method() -> None:
    wanted = {name: ELSEWHERE.get(name, name) for name in VERBS}
    assert [
        name for name, method in wanted.items() if method and not hasattr(Workspace, method)
    ] == []
    assert set(ELSEWHERE) <= set(VERBS)
    public = {name for name in dir(Workspace) if not name.startswith("_")}
    assert public == {method for method in wanted.values() if method} | BESIDES


@pytest.mark.parametrize("verb", [name for name in VERBS if hasattr(Workspace, name)])
def test_what_a_verb_can_be_told_its_method_can_be_told(verb: str) -> None:
    """Each option is a parameter, but for files that stand for a value and where output goes."""
    other = {
        "train": {"config": "config", "system": "config", "print_config": "config"},
        "predict": dict.fromkeys(("top_k", "output", "format"), "images"),  # of what is returned
        "unlearn": {"file": "records", "subjects_file": "subjects"},
        "submit": {"file": "records", "subjects_file": "subjects"},
        "wait": {"timeout": "timeout_s"},
        "certificate": dict.fromkeys(("output", "letter"), "request"),  # of what is returned
        "requests": dict.fromkeys(("state", "due", "since", "until", "submitter"), "asked")
        | dict.fromkeys(("key", "id", "csv"), "asked"),
        "verify": dict.fromkeys(("certificate", "public_key", "strict"), "rebuild"),
        "audit": {"head": "against"},
        "keys": {"keys": "folder"},
        "evaluate": {"by": "worst", "output": "worst"},  # of what is returned
        "cost": {"file": "records", "subjects_file": "subjects", "batch": "batches"}
        | {"adding": "additions"},
        "sweep": {"sweep": "values", "workspace": "self"},
        "recommend": {"workspace": "self"},
        "figures": {"workspace": "self"},
        "report": {"output": "path"},
        "export": {"output": "folder", "license": "license_id"},
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


def test_a_configuration_is_a_path_a_mapping_or_fields(tmp_path: Path, world: World) -> None:
    """The same state, however it is written."""
    config = world.config()
    path = tmp_path / "my.yaml"
    path.write_text(to_yaml(config))
    tree = config.model_dump(mode="json")
    parts = {name: tree.pop(name) for name in ("learner", "execution")}
    ways: list[tuple[object, dict[str, object]]] = [
        (str(path), {}),
        (path, {}),
        (config, {}),
        (config.model_dump(mode="json"), {}),
        (tree, parts),
    ]
    found = [
        Workspace(tmp_path / f"w{at}").train(given, **fields)  # type: ignore[arg-type]
        for at, (given, fields) in enumerate(ways)
    ]
    assert len({each.manifest.fingerprint for each in found}) == 1
    other = Workspace(tmp_path / "other").train(str(path), learner={"prompt": {"width": 1}}, seed=3)
    assert other.manifest.identity["learner"]["prompt"]["width"] == 1
    assert other.manifest.identity["seed"] == 3
    with pytest.raises(ConfigError, match="did you mean"):
        Workspace(tmp_path / "no").train(path, learner={"epochz": 1})
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read"):
        Workspace(tmp_path / "no").train("none.yaml")


def test_results_are_short(tmp_path: Path, world: World) -> None:
    """86 kB of a training's manifest filled a notebook."""
    space = Workspace(tmp_path / "w")
    assert "nothing is published" in space._repr_html_()
    results = [space.train(world.config()), space.evaluate(), space.cost(), space.verify()]
    results += [space.predict([picture(1)]), space.unlearn(records=world.ids[:1])]
    results += [space.overview(first=5), space.diversity(pairs=20), space.audit()]
    long = {type(one).__name__: len(repr(one)) for one in results if len(repr(one)) > 1000}
    assert long == {}
    assert "40 records" not in space._repr_html_() and "shards" in space._repr_html_()
    costs = space.cost()
    table = costs.to_pandas()
    assert list(table["record"]) == list(costs.names) and "<table" in costs._repr_html_()
    classes = space.evaluate().to_pandas()
    assert list(classes["class"]) == ["class-0", "class-1", "class-2"]


def test_studies_are_of_the_workspaces_own_configuration(tmp_path: Path, world: World) -> None:
    space = Workspace(tmp_path / "w")
    space.train(world.config())
    compared = space.compare(tmp_path / "s", systems=["ridge"], seeds=[0], deletions=1, together=1)
    assert list(compared.systems) == ["ridge"] and compared.failed == {}
    [row] = compared.to_pandas().to_dict("records")
    assert row["system"] == "ridge" and repr(compared) == "Comparison(ridge)"
    assert row["test accuracy"] == compared.systems["ridge"]["test accuracy"]["mean"]
    assert "test accuracy ±95%" in row and "<table" in compared._repr_html_()
    swept = space.sweep(tmp_path / "s", values={"partition.shards": [1, 3]})
    assert len(swept.rows) == 2
    assert swept.to_pandas().verdict.tolist() == [row["verdict"] for row in swept.rows]
    assert repr(swept).startswith("Written(2 values, recommended ")
    assert "<table" in swept._repr_html_()
    two = ["ridge", "class-means"]
    told = space.recommend(tmp_path / "r", systems=two, person=True, budget=0.9)
    assert told.result.question.unit.words == "one person" and told.result.choice.fits
    with pytest.raises(ConfigError, match=r"--batch '1\.5' was not understood"):
        space.recommend(tmp_path / "r", batch=1.5)
    drawn = space.figures(tmp_path / "f", study=tmp_path / "s")
    assert drawn.files
    assert space.figures(str(tmp_path / "own")).files
    for wrong in ({"systems": "ridge"}, {"vary": {"partition.shards": "12"}}):
        with pytest.raises(TypeError, match="expected several values"):
            space.compare(tmp_path / "s", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Nothing to sweep"):
        space.sweep(tmp_path / "s")
    with pytest.raises(ConfigError, match="8 or more"):
        space.attack(tmp_path / "s", shadows=2)


def test_another_system_takes_the_place_of_the_workspaces_own(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lmeraser_ray.study import attack, sweep

    asked: list[Any] = []
    monkeypatch.setattr(attack, "attack", lambda _, request: asked.append(request.config))
    monkeypatch.setattr(
        sweep, "sweep", lambda _, request: asked.append(request.variants[0].config(0))
    )
    space = Workspace(tmp_path / "w")
    space.train(world.config())
    space.attack(tmp_path / "s", system="ridge")
    space.sweep(tmp_path / "s", system="ridge", values={"learner.penalty": [0.1]})
    assert [config.learner.kind for config in asked] == ["ridge", "ridge"]


class ZMQInteractiveShell:
    """What IPython has in the kernel of a notebook."""


def test_a_notebook_shows_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Workspace("W").session.progress.quiet
    shell = SimpleNamespace(get_ipython=ZMQInteractiveShell)
    monkeypatch.setitem(sys.modules, "IPython", shell)
    assert not Workspace("W").session.progress.quiet


def test_importing_it_brings_no_torch() -> None:
    program = (
        "import sys; from lmeraser_ray import Workspace; Workspace('W'); "
        "print(*{'torch', 'ray', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"\n"
