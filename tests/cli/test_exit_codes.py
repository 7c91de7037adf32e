"""Mistakes of usage, configuration, data and execution: each has its exit code and one sentence on
stderr, and a refused command changes nothing."""

import fcntl
import os
from pathlib import Path

import pytest

from lmeraser_ray.cli.verbs import VERBS
from tests.support.command_line import Lm, Place, everything, expect_refused
from tests.support.law import held
from tests.support.world import World, picture


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
            assert "--execution.retries" not in text
            assert ("Every field" in text) == verb.configures
            assert lm("help", name).out == text

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
        assert not (tmp_path / "w").exists()
        expect_refused(lm("evaluate", "--workspace", tmp_path / "w"), 2, "is no workspace")

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
        pictures = (tmp_path / "good.png", tmp_path / name)
        said = lm("predict", "--workspace", made.root, *pictures, "--json")
        assert said.code == 3
        assert f"{tmp_path / name}: " in said.err
        assert "good.png" in said.out, "the others are predicted"

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
        """A checkpoint is named again, since no workspace says which file is loaded."""
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
        weights = ("--backbone.weights", "../weights.pth")
        expect_refused(lm("evaluate", "--workspace", "../w"), 2, "give the same file by")
        assert lm("evaluate", "--workspace", "../w", *weights).code == 0
        said = lm(
            "unlearn",
            "--workspace",
            root,
            *weights,
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
