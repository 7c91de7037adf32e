"""What each verb reports: with --json, the last line of stdout is one object with the documented
fields; without it, text for people."""

import hashlib
from pathlib import Path

import pytest

from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from tests.support.command_line import Lm, Place, asked, everything, expect_refused
from tests.support.law import index_of
from tests.support.world import picture


class TestReports:
    """With --json, the last line of stdout is one object with the fields that the documentation
    names."""

    def test_train_and_train_again(self, lm: Lm, made: Place, tmp_path: Path) -> None:
        first = lm("train", "--config", made.config, "--workspace", tmp_path / "new", "--json")
        assert first.code == 0
        assert first.err.startswith("note: 4 of 4 shards with few records")
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
        found = data["record"]
        assert 0 < found["mean_share"] <= found["p99_share"] <= found["worst_share"] <= 1
        assert found["shards"] >= 1 and found["exact"]
        one = lm(
            "cost",
            "--workspace",
            made.root,
            "--records",
            f"{made.id()},{made.id(test=True)}",
            "--each",
            "--json",
        ).json
        assert [entry["record"] for entry in one["deletions"]] == [made.id(), made.id(test=True)]
        assert one["deletions"][1]["passes"] == 0
        assert one["deletions"][0]["shards"] >= 1
        assert one["erasure"]["records"] == 2
        assert everything(made.root) == before
        expect_refused(lm("cost", "--workspace", made.root, "--records", "nobody"), 3, "'nobody'")

    def test_cost_is_what_the_deletion_then_does(self, lm: Lm, place: Place) -> None:
        told = lm("cost", "--workspace", place.root, "--records", place.id(), "--json").json[
            "erasure"
        ]
        done = lm("unlearn", "--workspace", place.root, "--records", place.id(), "--json").json
        assert done["retrained"] == told["shards"]
        assert done["passes"] == told["passes"]

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
