"""A damaged workspace: `lmeraser verify` names the damage with exit code 4, and `lmeraser train`
repairs it or refuses to touch it."""

import pytest

from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.store import KINDS
from tests.support.command_line import Lm, Place, everything, expect_refused
from tests.support.law import held
from tests.support.world import World


class TestDamage:
    @pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "statistics"])
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
