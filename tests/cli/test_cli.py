"""The command line: what each verb prints, its exit code, and that a refused command changes
nothing."""

import fcntl
import hashlib
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from lmeraser_ray.cli import main as cli
from lmeraser_ray.cli.verbs import VERBS
from lmeraser_ray.config.options import to_yaml
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database.tombstones import Tombstones
from lmeraser_ray.storage.store import KINDS
from tests.support.law import held, index_of
from tests.support.world import World, picture

SCRIPT = Path(sys.executable).parent / "lmeraser"
DATABASE = "requests.db"
"""Not empty once a command has had to do with requests."""


@dataclass(frozen=True)
class Said:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        """The object on the last line of stdout."""
        return json.loads(self.out.splitlines()[-1])


Lm = Callable[..., Said]


@pytest.fixture
def lm(capfd: pytest.CaptureFixture[str]) -> Lm:
    """Run a command in this process, as `lmeraser WORDS`."""

    def run(*words: object) -> Said:
        capfd.readouterr()
        try:
            code = cli.run(None, [str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Said(code, *capfd.readouterr())

    return run


@dataclass(frozen=True)
class Place:
    """A world, its configuration file and a trained workspace of one's own."""

    world: World
    config: Path
    root: Path

    def id(self, *, test: bool = False) -> str:
        """A record of the training side, or of the test side."""
        index, _ = index_of(self.root)
        return index.names("record_id")[
            int(index.test.argmax() if test else (~index.test).argmax())
        ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    base = tmp_path_factory.mktemp("cli")
    world = World(base / "world", n=24)
    config = base / "config.yaml"
    config.write_text(to_yaml(world.config()))
    assert (
        cli.run("train", ["--config", str(config), "--workspace", str(base / "trained"), "--json"])
        == 0
    )
    return Place(world, config, base / "trained")


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Place:
    shutil.copytree(made.root, tmp_path / "workspace")
    return Place(made.world, made.config, tmp_path / "workspace")


def everything(root: Path, *but: str) -> dict[str, bytes]:
    """Every file below a folder with its bytes, but for the lock, which says who was there last,
    and for files of these names."""
    return {
        str(path): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name not in ("lock", *but)
    }


def asked(root: Path) -> tuple[dict[str, int], int]:
    """How many erasure requests are in each state, and how many tombstones there are. Ids of closed
    requests are nowhere."""
    session = Session(root)
    with session.database() as database:
        found = RequestRepository(database, session.names()).list()
        assert all(
            target.name is None
            for request in found
            if request.state.is_closed
            for target in request.targets
        )
        return dict(Counter(str(request.state) for request in found)), len(
            Tombstones(session.names(), database)
        )


def expect_refused(said: Said, code: int, *words: str) -> None:
    """The exit code, one line on stderr that says these words, nothing on stdout, no traceback."""
    assert said.code == code, said
    assert said.out == ""
    assert said.err.startswith("lmeraser: error: "), said.err
    assert said.err.count("\n") == 1, said.err
    for word in words:
        assert word in said.err


class TestReports:
    """With --json, the last line of stdout is one object with the fields that the documentation
    names."""

    def test_train_and_train_again(self, lm: Lm, made: Place, tmp_path: Path) -> None:
        first = lm("train", "--config", made.config, "--workspace", tmp_path / "new", "--json")
        assert (first.code, first.err) == (0, "")
        assert len(first.out.splitlines()) == 1
        data = first.json
        assert data["records"] == 24
        assert data["training_records"] + data["test_records"] == 24
        assert data["trained"] == data["shards"] == 4
        assert (data["reused"], data["features_computed"]) == (0, 24)
        assert 0 <= data["accuracy"]["test"] <= 1
        assert {"ingest", "features", "partition", "training", "publish"} <= set(data["seconds"])
        assert (
            data["fingerprint"]
            == lm("fingerprint", "--workspace", made.root, "--json").json["fingerprint"]
        )
        before = everything(tmp_path / "new")
        again = lm("train", "--config", made.config, "--workspace", tmp_path / "new", "--json").json
        assert (again["trained"], again["reused"], again["features_computed"], again["passes"]) == (
            0,
            4,
            0,
            0,
        )
        assert again["fingerprint"] == data["fingerprint"]
        assert everything(tmp_path / "new") == before

    def test_fingerprint(self, lm: Lm, made: Place) -> None:
        text = lm("fingerprint", "--workspace", made.root)
        assert len(text.out.strip()) == 64
        assert lm("fingerprint", "--workspace", made.root, "--json").json == {
            "fingerprint": text.out.strip()
        }

    def test_evaluate(self, lm: Lm, made: Place) -> None:
        data = lm("evaluate", "--workspace", made.root, "--json").json
        assert set(data["accuracy"]) == {"test", "train"}
        assert all(0 <= value <= 1 for value in data["accuracy"].values())
        assert set(data["per_class"]) <= {"class-0", "class-1", "class-2"}
        assert [shard["shard"] for shard in data["per_shard"]] == [0, 1, 2, 3]
        index, _ = index_of(made.root)
        assert sum(shard["size"] for shard in data["per_shard"]) == len(index.training)
        assert sum(shard["queries"] for shard in data["per_shard"]) == len(index) - len(
            index.training
        )
        assert "test accuracy" in lm("evaluate", "--workspace", made.root).out

    def test_predict(self, lm: Lm, made: Place, tmp_path: Path) -> None:
        paths = [tmp_path / f"{i}.png" for i in range(2)]
        for i, path in enumerate(paths):
            path.write_bytes(picture(100 + i, i * 2))
        data = lm("predict", "--workspace", made.root, *paths, "--json").json
        keys = [
            shard.constituent.key for shard in WorkspaceFolder(made.root).require_published().shards
        ]
        for entry, path in zip(data["predictions"], paths, strict=True):
            assert entry["image"] == str(path)
            assert entry["label"] == max(entry["probabilities"], key=entry["probabilities"].get)
            assert entry["probability"] == pytest.approx(
                entry["probabilities"][entry["label"]], abs=1e-6
            )
            assert sum(entry["probabilities"].values()) == pytest.approx(1, abs=1e-5)
            assert [keys[shard["shard"]] for shard in entry["shards"]] == [
                shard["key"] for shard in entry["shards"]
            ]
            assert sum(shard["weight"] for shard in entry["shards"]) == pytest.approx(1, abs=1e-5)
        text = lm("predict", "--workspace", made.root, *paths).out
        assert len(text.splitlines()) == 2

    def test_cost(self, lm: Lm, made: Place) -> None:
        before = everything(made.root)
        data = lm("cost", "--workspace", made.root, "--json").json
        assert 0 < data["expected_share"] <= data["p99_share"] <= data["worst_share"] <= 1
        assert data["shards_touched"] >= 1
        one = lm(
            "cost",
            "--workspace",
            made.root,
            "--records",
            f"{made.id()},{made.id(test=True)}",
            "--json",
        ).json
        assert [entry["record"] for entry in one["deletions"]] == [made.id(), made.id(test=True)]
        assert one["deletions"][1]["retrained"] == 0
        assert one["deletions"][0]["shards_touched"] >= 1
        assert everything(made.root) == before
        expect_refused(lm("cost", "--workspace", made.root, "--records", "nobody"), 3, "'nobody'")

    def test_cost_is_what_the_deletion_then_does(self, lm: Lm, place: Place) -> None:
        """Record passes of the shards that are trained again, unless one has a single class and so
        nothing to learn."""
        told = lm("cost", "--workspace", place.root, "--records", place.id(), "--json").json[
            "deletions"
        ][0]
        done = lm("unlearn", "--workspace", place.root, "--records", place.id(), "--json").json
        assert done["retrained"] == told["shards_touched"]
        assert done["passes"] <= told["retrained"] * place.world.config().learner.epochs

    def test_unlearn(self, lm: Lm, place: Place) -> None:
        before = lm("fingerprint", "--workspace", place.root, "--json").json["fingerprint"]
        data = lm("unlearn", "--workspace", place.root, "--records", place.id(), "--json").json
        assert (data["removed"], data["already_erased"]) == (1, [])
        assert data["retrained"] + data["reused"] == data["constituents"] == 4
        assert isinstance(data["reclustered"], bool)
        assert (data["fingerprint_before"], data["fingerprint"] != before) == (before, True)
        assert (
            data["fingerprint"]
            == lm("fingerprint", "--workspace", place.root, "--json").json["fingerprint"]
        )
        assert {"training", "publish"} <= set(data["seconds"])
        certificate = place.root.parent / "certificate.json"
        assert (
            lm(
                "certificate", data["request"], "--workspace", place.root, "--output", certificate
            ).code
            == 0
        )
        assert hashlib.sha256(certificate.read_bytes()).hexdigest() == data["certificate"]
        assert lm("verify", "--certificate", certificate).code == 0
        assert asked(place.root) == ({"CERTIFIED": 1}, 1)

    def test_verify(self, lm: Lm, place: Place) -> None:
        data = lm("verify", "--workspace", place.root, "--json").json
        assert (data["ok"], data["differences"], data["rebuilt"]) == (True, [], False)
        assert data["checked"] == len(WorkspaceFolder(place.root).store.files())
        before = everything(place.root)
        deep = lm("verify", "--workspace", place.root, "--rebuild", "--json").json
        assert (deep["ok"], deep["rebuilt"], deep["checked"]) == (True, True, 2 * data["checked"])
        assert everything(place.root) == before

    def test_text_is_for_people(self, lm: Lm, place: Place) -> None:
        for words in (
            ["verify"],
            ["cost"],
            ["unlearn", "--records", place.id()],
            ["train", "--config", place.config],
        ):
            said = lm(*words, "--workspace", place.root)
            assert said.code == 0
            assert len(said.out.strip()) > 20
            assert "{" not in said.out
            assert "Traceback" not in said.err


class TestUnlearn:
    def test_many_at_once_by_every_way(self, lm: Lm, place: Place) -> None:
        """--records twice and with commas, --subjects, --file: one state, that of never having seen
        them."""
        ids, listed = place.world.ids, place.root.parent / "ids.txt"
        listed.write_text(f"\n {ids[8]} \n{ids[9]}\n{ids[0]}\n")
        words = [
            "--records",
            f"{ids[0]}, {ids[2]}",
            "--records",
            ids[4],
            "--subjects",
            "person-3",
            "--file",
            listed,
        ]
        data = lm("unlearn", "--workspace", place.root, *words, "--json").json
        assert data["removed"] == 7
        exclude = place.root.parent / "exclude.txt"
        exclude.write_text("\n".join(ids[i] for i in (0, 2, 4, 6, 7, 8, 9)))
        other = place.root.parent / "other"
        never = lm(
            "train",
            "--config",
            place.config,
            "--workspace",
            other,
            "--data.exclude",
            exclude,
            "--json",
        ).json
        assert never["excluded"] == 7
        assert never["fingerprint"] == data["fingerprint"]
        assert held(other) == held(place.root)

    @pytest.mark.parametrize(
        "words",
        [["--records", "nobody"], ["--subjects", "nobody"], ["--records", "person-0"]],
        ids=str,
    )
    def test_unknown_ids_are_named_and_nothing_is_changed(
        self, lm: Lm, place: Place, words: list[str]
    ) -> None:
        """Also where known ones stand beside them; a subject is no record."""
        name, before = place.id(), everything(place.root, DATABASE)
        expect_refused(
            lm("unlearn", "--workspace", place.root, "--records", name, *words),
            3,
            repr(words[1]),
            "nothing was changed",
        )
        assert everything(place.root, DATABASE) == before
        assert asked(place.root) == ({"REFUSED": 1}, 0)
        kept = (place.root / DATABASE).read_bytes()
        assert not any(word.encode() in kept for word in (name, words[1]))
        assert lm("verify", "--workspace", place.root).code == 0

    def test_many_unknown_ids_are_not_a_wall_of_text(self, lm: Lm, place: Place) -> None:
        said = lm(
            "unlearn",
            "--workspace",
            place.root,
            "--records",
            ",".join(f"nobody-{i}" for i in range(500)),
        )
        expect_refused(said, 3, "'nobody-0'", "and 495 more")
        assert len(said.err) < 400

    def test_already_erased_is_said_and_nothing_is_done(self, lm: Lm, place: Place) -> None:
        name = place.id()
        first = lm("unlearn", "--workspace", place.root, "--records", name, "--json").json
        before = everything(place.root, DATABASE)
        said = lm("unlearn", "--workspace", place.root, "--records", name, "--json")
        assert said.code == 0
        assert (said.json["removed"], said.json["already_erased"], said.json["retrained"]) == (
            0,
            [name],
            0,
        )
        assert said.json["fingerprint_before"] == said.json["fingerprint"] == first["fingerprint"]
        assert "erased before" in said.err
        assert everything(place.root, DATABASE) == before
        assert said.json["request"] != first["request"], "each request has its own certificate"
        assert asked(place.root) == ({"CERTIFIED": 2}, 1)

    def test_already_erased_beside_a_new_one(self, lm: Lm, place: Place) -> None:
        ids = [place.world.ids[0], place.world.ids[1]]
        lm("unlearn", "--workspace", place.root, "--records", ids[0])
        data = lm("unlearn", "--workspace", place.root, "--records", ",".join(ids), "--json").json
        assert (data["removed"], data["already_erased"]) == (1, [ids[0]])

    def test_nobody_named(self, lm: Lm, place: Place) -> None:
        expect_refused(lm("unlearn", "--workspace", place.root), 2, "--records")
        expect_refused(lm("unlearn", "--workspace", place.root, "--records", " , "), 2, "--records")
        expect_refused(
            lm("unlearn", "--workspace", place.root, "--file", place.root / "nowhere"), 2, "nowhere"
        )

    @pytest.mark.parametrize("verb", ["unlearn", "submit"])
    def test_what_ray_keeps_of_a_job_names_nobody(
        self, lm: Lm, place: Place, monkeypatch: pytest.MonkeyPatch, verb: str
    ) -> None:
        """Neither its command line nor a file that is sent with it: an erasure would never be
        certified. A file elsewhere may."""
        sent, elsewhere = (
            place.root.parent / "runtime_resources/working_dir_files/job/ids",
            place.root.parent / "ids",
        )
        sent.parent.mkdir(parents=True)
        for path in (sent, elsewhere):
            path.write_text(place.id())
        before = everything(place.root)
        expect_refused(lm(verb, "--workspace", place.root, "--file", sent), 2, "outside of a job")
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
        for option in ("--records", "--subjects"):
            expect_refused(
                lm(verb, "--workspace", place.root, option, place.id()), 2, "--subjects_file"
            )
        expect_refused(
            lm("cost", "--workspace", place.root, "--records", place.id()), 2, "outside of a job"
        )
        assert everything(place.root) == before
        assert lm(verb, "--workspace", place.root, "--file", elsewhere).code == 0

    def test_what_a_job_prints_names_nobody(
        self, lm: Lm, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Ray keeps it in the cluster's logs: who was erased before is counted only."""
        named, listed = place.id(), place.root.parent / "ids"
        listed.write_text(f"{named}\n")
        assert lm("unlearn", "--workspace", place.root, "--file", listed).code == 0
        listed.write_text(f"{named}\n{place.id()}\n")
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
        done = lm("unlearn", "--workspace", place.root, "--file", listed, "--json")
        assert done.json["removed"] == 1 and done.json["already_erased"] is None
        assert "1 id erased before." in done.err and named not in done.out + done.err

    def test_a_file_with_a_byte_order_mark(self, lm: Lm, place: Place) -> None:
        """As Windows editors write it; the first id is not another one for it."""
        listed = place.root.parent / "ids.txt"
        listed.write_bytes(b"\xef\xbb\xbf" + place.id().encode() + b"\r\n")
        assert (
            lm("unlearn", "--workspace", place.root, "--file", listed, "--json").json["removed"]
            == 1
        )

    def test_an_id_that_is_no_unicode(self, lm: Lm, place: Place) -> None:
        """Bytes of another encoding come from the shell as surrogates: no record has such an id,
        before and after an erasure."""
        for certified in range(2):
            before = everything(place.root, DATABASE)
            said = lm("unlearn", "--workspace", place.root, "--records", os.fsdecode(b"caf\xe9"))
            expect_refused(said, 3, "the record id 'caf\\udce9'")
            assert everything(place.root, DATABASE) == before
            assert asked(place.root) == ({"CERTIFIED": 1} if certified else {}, certified)
            lm("unlearn", "--workspace", place.root, "--records", place.world.ids[0])

    @pytest.mark.parametrize(
        ("words", "about"),
        [
            (["--typo.field", "1"], "typo.field"),
            (["--learner.epochs", "9"], "--learner.epochs"),
            (["--execution.retries", "many"], "execution.retries"),
        ],
        ids=["unknown", "identity", "invalid"],
    )
    def test_a_wrong_option_is_refused_before_anything_is_erased(
        self, lm: Lm, place: Place, words: list[str], about: str
    ) -> None:
        before = everything(place.root)
        expect_refused(
            lm("unlearn", "--workspace", place.root, "--records", place.id(), *words), 2, about
        )
        assert everything(place.root) == before
        assert lm("verify", "--workspace", place.root).code == 0

    def test_erased_ids_stay_erased_until_they_are_readmitted(self, lm: Lm, place: Place) -> None:
        name, words = place.id(), ["--config", place.config, "--workspace", place.root, "--json"]
        whole = lm("fingerprint", "--workspace", place.root, "--json").json["fingerprint"]
        lm("unlearn", "--workspace", place.root, "--records", name)
        said = lm("train", *words)
        assert said.json["erased_left_out"] == 1
        assert "1 record erased before, left out again" in said.err
        listed = place.root.parent / "readmit.txt"
        listed.write_text(name)
        assert lm("train", *words, "--data.readmit", listed).json["fingerprint"] == whole
        assert lm("train", *words).json["erased_left_out"] == 0

    def test_readmitting_that_fails_leaves_the_id_erased(self, lm: Lm, place: Place) -> None:
        """The training was refused for another reason, so nothing may have changed, tombstones
        least of all."""
        name = place.id()
        lm("unlearn", "--workspace", place.root, "--records", name)
        listed, other = (
            place.root.parent / "readmit.txt",
            World(place.root.parent / "smaller", n=10),
        )
        listed.write_text(name)
        before = everything(place.root)
        words = ["--config", place.config, "--workspace", place.root, "--data.readmit", listed]
        expect_refused(lm("train", *words, "--data.path", other.path), 3, "no longer has")
        assert asked(place.root) == ({"CERTIFIED": 1}, 1)
        assert {
            name: data for name, data in everything(place.root).items() if "objects" not in name
        } == {name: data for name, data in before.items() if "objects" not in name}
        assert lm("train", *words[:-2], "--json").json["erased_left_out"] == 1

    def test_one_readmitted_record_of_an_erased_subject(self, lm: Lm, place: Place) -> None:
        """Let in again by name, it stays, whatever else is erased or trained later; or it is
        refused, but never dropped in silence."""
        world, words = place.world, ["--config", place.config, "--workspace", place.root, "--json"]
        lm("unlearn", "--workspace", place.root, "--subjects", "person-2")
        listed = place.root.parent / "readmit.txt"
        listed.write_text(world.ids[4])
        said = lm("train", *words, "--data.readmit", listed)
        if said.code:
            expect_refused(said, 3, "person-2")
            return
        assert said.json["records"] == 23
        assert lm("train", *words).json["records"] == 23
        assert (
            lm("unlearn", "--workspace", place.root, "--records", world.ids[0], "--json").json[
                "removed"
            ]
            == 1
        )


class TestExitCodes:
    """0 done, 2 usage or configuration, 3 data, 4 verification, 5 execution."""

    def test_no_arguments(self, lm: Lm) -> None:
        said = lm()
        assert said.code == 2
        assert all(verb in said.out + said.err for verb in VERBS)

    def test_help(self, lm: Lm) -> None:
        said = lm("--help")
        assert said.code == 0
        assert all(verb in said.out for verb in VERBS)
        for name, verb in VERBS.items():
            text = lm(name, "--help").out
            assert text.startswith(f"usage: lmeraser {name} ")
            assert "--execution.retries" in text
            assert ("--learner.epochs" in text) == verb.configures

    def test_typos(self, lm: Lm, made: Place, tmp_path: Path) -> None:
        expect_refused(lm("trian"), 2, "did you mean train?")
        expect_refused(lm("xyzzy"), 2, "unlearn")
        words = ["train", "--config", made.config, "--workspace", tmp_path / "w"]
        expect_refused(lm(*words, "--learner.epoch", "3"), 2, "did you mean learner.epochs?")
        expect_refused(lm(*words, "--learner.epochs", "three"), 2, "learner.epochs", "'three'")
        expect_refused(lm(*words, "--learner.epochs"), 2, "no value")
        expect_refused(lm(*words, "stray"), 2, "'stray'")
        expect_refused(lm("train", "--config", tmp_path / "nowhere.yaml"), 2, "nowhere.yaml")
        assert not (tmp_path / "w").exists()

    @pytest.mark.parametrize(
        "verb", ["predict", "evaluate", "unlearn", "cost", "fingerprint", "verify"]
    )
    def test_an_unknown_field_is_refused_by_every_verb(
        self, lm: Lm, place: Place, verb: str
    ) -> None:
        words = {"predict": ["x.png"], "unlearn": ["--records", place.id()]}.get(verb, [])
        expect_refused(
            lm(verb, *words, "--workspace", place.root, "--execution.retrys", "1"),
            2,
            "did you mean execution.retries?",
        )

    def test_identity_cannot_be_changed_by_an_option(self, lm: Lm, place: Place) -> None:
        expect_refused(
            lm("evaluate", "--workspace", place.root, "--aggregation.shards", "1"),
            2,
            "--aggregation.shards",
        )
        assert lm("evaluate", "--workspace", place.root, "--execution.retries", "1").code == 0

    def test_fields_may_stand_before_the_pictures(
        self, lm: Lm, made: Place, tmp_path: Path
    ) -> None:
        path = tmp_path / "1.png"
        path.write_bytes(picture(1))
        assert lm("predict", "--workspace", made.root, "--execution.retries", "1", path).code == 0
        assert lm("predict", "--execution.retries=1", path, "--workspace", made.root).code == 0

    @pytest.mark.parametrize(
        "verb", ["predict", "evaluate", "unlearn", "cost", "fingerprint", "verify"]
    )
    def test_no_workspace(self, lm: Lm, tmp_path: Path, verb: str) -> None:
        words = {"predict": ["x.png"], "unlearn": ["--records", "x"]}.get(verb, [])
        (tmp_path / "empty").mkdir()
        for name in ("nowhere", "empty"):
            expect_refused(lm(verb, *words, "--workspace", tmp_path / name), 2, "lmeraser train")
        assert [path.name for path in tmp_path.iterdir()] == ["empty"]
        assert list((tmp_path / "empty").iterdir()) == []

    def test_an_empty_folder_can_be_a_workspace(self, lm: Lm, made: Place, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        assert lm("train", "--config", made.config, "--workspace", tmp_path / "empty").code == 0

    @pytest.mark.parametrize(
        "name", ["thesis.tex", "objects/mesh.obj", "objects/features/mine.npy"]
    )
    def test_a_foreign_folder_is_refused_and_left_alone(
        self, lm: Lm, made: Place, tmp_path: Path, name: str
    ) -> None:
        """Also one that has a folder `objects` of its own: what is not reachable in a workspace is
        purged."""
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("years of work")
        expect_refused(
            lm("train", "--config", made.config, "--workspace", tmp_path),
            2,
            name.split("/", maxsplit=1)[0],
        )
        assert everything(tmp_path) == {str(tmp_path / name): b"years of work"}

    def test_a_file_as_workspace(self, lm: Lm, made: Place, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        expect_refused(
            lm("train", "--config", made.config, "--workspace", tmp_path / "file"), 2, "is a file"
        )

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("seed", "1"),
            ("learner.epochs", "3"),
            ("aggregation.shards", "1"),
            ("partition.shards", "5"),
            ("data.buckets", "5"),
        ],
    )
    def test_another_configuration_is_refused(
        self, lm: Lm, place: Place, field: str, value: str
    ) -> None:
        before = everything(place.root)
        said = lm("train", "--config", place.config, "--workspace", place.root, f"--{field}", value)
        expect_refused(said, 2, field, value, "--workspace")
        assert everything(place.root) == before

    @pytest.mark.parametrize("field", ["backbone.seed", "backbone.batch"])
    def test_another_backbone_is_refused(self, lm: Lm, place: Place, field: str) -> None:
        before = everything(place.root)
        expect_refused(
            lm("train", "--config", place.config, "--workspace", place.root, f"--{field}", "5"),
            2,
            "another backbone",
        )
        assert everything(place.root) == before

    def test_data_errors(self, lm: Lm, made: Place, tmp_path: Path) -> None:
        words = ["train", "--config", made.config, "--workspace", tmp_path / "w", "--data.path"]
        expect_refused(lm(*words, tmp_path / "nowhere.parquet"), 3, "nowhere.parquet")
        (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
        expect_refused(lm(*words, tmp_path / "bad.parquet"), 3, "bad.parquet")
        assert not (tmp_path / "w" / "CURRENT").exists()
        expect_refused(lm("evaluate", "--workspace", tmp_path / "w"), 3, "nothing published")

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("nowhere.png", None),
            ("text.png", b"text"),
            ("empty.png", b""),
            ("half.png", picture(1)[:99]),
        ],
    )
    def test_pictures_that_cannot_be_predicted(
        self, lm: Lm, made: Place, tmp_path: Path, name: str, content: bytes | None
    ) -> None:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        (tmp_path / "good.png").write_bytes(picture(1))
        expect_refused(
            lm(
                "predict",
                "--workspace",
                made.root,
                tmp_path / "good.png",
                tmp_path / name,
                "--json",
            ),
            3,
            name,
        )

    def test_a_folder_is_no_picture(self, lm: Lm, made: Place, tmp_path: Path) -> None:
        expect_refused(lm("predict", "--workspace", made.root, tmp_path), 3, str(tmp_path))

    def test_predict_without_pictures(self, lm: Lm, made: Place) -> None:
        assert lm("predict", "--workspace", made.root).code == 2

    def test_records_that_went_missing(self, lm: Lm, place: Place) -> None:
        other = World(place.root.parent / "smaller", n=20)
        words = [
            "train",
            "--config",
            place.config,
            "--workspace",
            place.root,
            "--data.path",
            other.path,
            "--json",
        ]
        before = held(place.root)
        expect_refused(lm(*words), 3, "person-1", "--data.allow_missing")
        assert (
            before.keys() - held(place.root).keys(),
            lm("evaluate", "--workspace", place.root).code,
        ) == (set(), 0)
        assert lm(*words, "--data.allow_missing", "true").json["records"] == 20
        assert lm("verify", "--workspace", place.root).code == 0

    def test_two_commands_at_once(self, lm: Lm, place: Place) -> None:
        """While another holds the lock: writers are refused at once and say who; readers read."""
        before = everything(place.root)
        with open(place.root / "lock", "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for words in (
                ["train", "--config", place.config],
                ["unlearn", "--records", place.id()],
                ["verify"],
            ):
                expect_refused(
                    lm(*words, "--workspace", place.root), 5, "Another command", str(os.getpid())
                )
            for verb in ("evaluate", "cost", "fingerprint"):
                assert lm(verb, "--workspace", place.root).code == 0
        assert everything(place.root) == before
        assert lm("verify", "--workspace", place.root).code == 0

    def test_a_workspace_works_from_another_folder(
        self, lm: Lm, made: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also where the checkpoint was given by a relative path."""
        import torch

        from lmeraser_ray.models.backbone import TinyConvnet

        torch.save(TinyConvnet().state_dict(), tmp_path / "weights.pth")
        monkeypatch.chdir(tmp_path)
        assert (
            lm(
                "train",
                "--config",
                made.config,
                "--workspace",
                "w",
                "--backbone.weights",
                "weights.pth",
            ).code
            == 0
        )
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        root = tmp_path / "w"
        assert lm("evaluate", "--workspace", "../w").code == 0
        said = lm(
            "unlearn",
            "--workspace",
            root,
            "--records",
            Place(made.world, made.config, root).id(),
            "--json",
        )
        assert said.json["removed"] == 1

    def test_a_demonstration_removes_nothing_of_others(self, lm: Lm, place: Place) -> None:
        """A folder that holds `workspace` alone is where somebody trains, and no earlier
        demonstration."""
        before = everything(place.root.parent)
        expect_refused(lm("demo", "--workspace", place.root.parent), 2, "workspace")
        expect_refused(lm("demo", "--workspace", place.root), 2, "choose a new folder")
        assert everything(place.root.parent) == before

    def test_an_error_with_json_keeps_stdout_empty(self, lm: Lm, place: Place) -> None:
        expect_refused(lm("unlearn", "--workspace", place.root, "--records", "nobody", "--json"), 3)


class TestDamage:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("how", ["changed", "missing"])
    def test_verify_names_it_and_train_repairs_it(
        self, lm: Lm, place: Place, kind: str, how: str
    ) -> None:
        wanted = held(place.root)
        path = min((place.root / "objects" / kind).iterdir())
        if how == "changed":
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        else:
            path.unlink()
        said = lm("verify", "--workspace", place.root, "--json")
        assert said.code == 4
        assert (said.json["ok"], said.err) == (False, "")
        assert any(path.name in difference for difference in said.json["differences"]), said.json
        expect_refused(lm("fingerprint", "--workspace", place.root), 4, path.name)
        repaired = lm("train", "--config", place.config, "--workspace", place.root, "--json").json
        assert held(place.root) == wanted
        assert repaired["trained"] == (kind == "constituents")
        assert lm("verify", "--workspace", place.root, "--rebuild").code == 0

    def test_strays_are_named_and_then_removed(self, lm: Lm, place: Place) -> None:
        wanted = held(place.root)
        objects = place.root / "objects"
        strays = [
            objects / "features" / "stray.safetensors",
            objects / "stray",
            objects / "new" / "x",
        ]
        for stray in strays:
            stray.parent.mkdir(exist_ok=True)
            stray.write_bytes(b"left over")
        data = lm("verify", "--workspace", place.root, "--json")
        assert data.code == 4
        assert all(
            any(stray.name in difference for difference in data.json["differences"])
            for stray in strays
        )
        assert lm("train", "--config", place.config, "--workspace", place.root).code == 0
        assert held(place.root) == wanted

    @pytest.mark.parametrize(
        "content",
        [b"", b"nonsense", b"\xff\xfe", b"a" * 64 + b"-" + b"b" * 64, b"../../etc/passwd-x"],
    )
    def test_a_damaged_pointer(self, lm: Lm, place: Place, content: bytes) -> None:
        wanted = held(place.root)
        (place.root / "CURRENT").write_bytes(content)
        expect_refused(lm("fingerprint", "--workspace", place.root), 4)
        assert lm("verify", "--workspace", place.root).code == 4
        assert lm("train", "--config", place.config, "--workspace", place.root).code == 0
        assert held(place.root) == wanted

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"seed": -1}', b'{"unknown": 1}'])
    def test_a_damaged_configuration(self, lm: Lm, place: Place, content: bytes) -> None:
        """No traceback; and training writes it again."""
        (place.root / "configuration.json").write_bytes(content)
        expect_refused(lm("evaluate", "--workspace", place.root), 4, "configuration.json")
        assert lm("train", "--config", place.config, "--workspace", place.root).code == 0
        assert lm("evaluate", "--workspace", place.root).code == 0

    def test_a_manifest_of_a_later_version_is_not_thrown_away(self, lm: Lm, place: Place) -> None:
        """Training must not take it for damage and purge what it names."""
        folder = WorkspaceFolder(place.root)
        data = folder.store.read(folder.current()).replace(b'"format":2', b'"format":3')  # type: ignore[arg-type]
        with folder.locked() as workspace:
            item = workspace.store.put("manifests", "f" * 64, [data])
        (place.root / "CURRENT").write_text(f"{item.key}-{item.sha256}\n")
        before = everything(place.root)
        said = lm("train", "--config", place.config, "--workspace", place.root)
        assert said.code != 0
        assert "format 3" in said.err
        assert everything(place.root) == before

    def test_damaged_records_of_a_bucket_that_changes_too(self, lm: Lm, place: Place) -> None:
        """The repair that the message promises also works where the source has a record more than
        before."""
        more = World(place.root.parent / "more", n=60)
        for path in (place.root / "objects" / "records").iterdir():
            path.write_bytes(b"damaged")
        said = lm(
            "train",
            "--config",
            place.config,
            "--workspace",
            place.root,
            "--data.path",
            more.path,
            "--json",
        )
        assert said.code == 0, said.err
        assert said.json["records"] == 60
        assert lm("verify", "--workspace", place.root).code == 0

    def test_two_files_of_one_key_both_damaged(self, lm: Lm, place: Place) -> None:
        """A mixed fleet can leave two. Removing the one that counts must not bring the other,
        unread, into the state."""
        wanted = held(place.root)
        path = min((place.root / "objects" / "constituents").iterdir())
        path.write_bytes(b"damaged")
        (path.parent / f"{path.name[:65]}{'0' * 64}.safetensors").write_bytes(b"damaged too")
        assert lm("train", "--config", place.config, "--workspace", place.root).code == 0
        assert held(place.root) == wanted

    def test_a_lost_secret_is_said(self, lm: Lm, place: Place) -> None:
        """Without it no tombstone can be recognised, and the erased would come back with the next
        training."""
        lm("unlearn", "--workspace", place.root, "--records", place.id())
        (place.root / "secret").unlink()
        expect_refused(
            lm("train", "--config", place.config, "--workspace", place.root), 4, "secret"
        )

    def test_a_copy_without_its_empty_folders_works(self, lm: Lm, place: Place) -> None:
        """As git, or rsync -m, copies it."""
        (place.root / "objects" / "tmp").rmdir()
        assert lm("verify", "--workspace", place.root).code == 0
        assert lm("unlearn", "--workspace", place.root, "--records", place.id()).code == 0


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
        assert lm("train", "--config", again, "--print_config").out == said.out

    def test_without_arguments_it_is_the_quickstart(self, lm: Lm) -> None:
        tree = yaml.safe_load(lm("train", "--print_config").out)
        assert tree["data"]["source"] == "digits"
        assert tree["backbone"]["weights"] == "embedded"


@pytest.mark.parametrize("verb", VERBS)
def test_python_m_is_the_same_as_the_verb(
    verb: str, lm: Lm, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m lmeraser_ray VERB`; of what clusters run, `python -m lmeraser_ray.VERB` too."""
    wanted = lm(verb, "--help")
    entries = [("lmeraser_ray", [verb, "--help"])]
    if verb in ("train", "unlearn", "sweep"):
        entries.append((f"lmeraser_ray.{verb}", ["--help"]))
    for module, words in entries:
        monkeypatch.setattr(sys, "argv", ["-m", *words])
        monkeypatch.delitem(sys.modules, module, raising=False)
        with pytest.raises(SystemExit) as stop:
            runpy.run_module(module, run_name="__main__")
        assert (stop.value.code, capfd.readouterr().out) == (0, wanted.out)


def command(*words: object) -> list[str]:
    return [str(word) for word in words]


class TestProcesses:
    """Through real processes: the installed script, the module, and signals."""

    def test_the_script_and_the_module_say_the_same(self, made: Place) -> None:
        words = ["--workspace", made.root, "--json"]
        script = subprocess.run(
            command(SCRIPT, "evaluate", *words), capture_output=True, text=True, check=False
        )
        module = subprocess.run(
            command(sys.executable, "-m", "lmeraser_ray", "evaluate", *words),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (script.returncode, script.stderr) == (module.returncode, module.stderr) == (0, "")
        assert script.stdout == module.stdout
        assert json.loads(script.stdout.splitlines()[-1])["accuracy"]["train"] is not None

    def test_a_reader_that_goes_away(self, made: Place) -> None:
        """`lmeraser train --print_config | head -0` ends quietly."""
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as gone:
            done = subprocess.run(
                command(SCRIPT, "train", "--print_config"),
                stdout=gone,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.stderr == ""
        assert done.returncode in (0, 141)

    def test_ctrl_c_and_the_same_command_again(self, made: Place, tmp_path: Path, lm: Lm) -> None:
        """Interrupted when the first shard was stored: exit code 130, and the same command reuses
        that shard and all features."""
        words = [
            "train",
            "--config",
            made.config,
            "--workspace",
            tmp_path / "w",
            "--learner.epochs",
            "150",
            "--json",
        ]
        # A shell that runs the tests in the background has SIGINT ignored, and children inherit
        # that: as a terminal has it.
        heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
        process = subprocess.Popen(
            command(SCRIPT, *words),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **heard,
        )
        finished = tmp_path / "w" / "objects" / "constituents"
        for _ in until_there(process, lambda: finished.is_dir() and any(finished.iterdir())):
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        assert process.returncode in (130, -signal.SIGINT), err  # which a shell calls 130 too
        assert out == ""
        assert err.count("\n") == 1
        assert "run the same command again" in err
        there = len(list(finished.iterdir()))
        assert 1 <= there < 4
        assert not (tmp_path / "w" / "CURRENT").exists()
        again = lm(*words).json
        assert (again["reused"], again["trained"], again["features_computed"]) == (
            there,
            4 - there,
            0,
        )
        other = [tmp_path / "other" if word == tmp_path / "w" else word for word in words]
        assert lm(*other).json["fingerprint"] == again["fingerprint"]


def until_there(process: subprocess.Popen[str], there: Callable[[], bool]) -> Iterator[None]:
    """Wait for a sign of a process; an error where it ends without giving one."""
    while not there():
        try:
            process.wait(0.01)
        except subprocess.TimeoutExpired:
            yield
        else:
            raise AssertionError(process.communicate())
