"""The folder of keys: where it is, who may read it, and that it survives a crash at every write."""

import base64
import hashlib
import os
import stat
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from lmeraser_ray.erasure.certificate import keystore
from lmeraser_ray.erasure.certificate.dsse import SigningKey, keyid_of, sign, verify
from lmeraser_ray.erasure.certificate.keystore import KeyFolder, key_folder, read_public_key
from lmeraser_ray.errors import ConfigError, ExecutionError, VerificationError
from lmeraser_ray.storage.paths import Location
from tests.support.children import wait_until, waiting
from tests.support.statements import PAYLOAD


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    """A default place with nothing in it yet."""
    return KeyFolder(tmp_path / "config" / "keys", default=True)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestPlaces:
    def test_what_is_named_goes_before_the_default(self, tmp_path: Path) -> None:
        config = {"XDG_CONFIG_HOME": str(tmp_path)}
        assert key_folder(environment=config) == KeyFolder(
            tmp_path / "lmeraser_ray" / "keys", default=True
        )
        named = {**config, "LMERASER_KEYS": str(tmp_path / "named")}
        assert key_folder(environment=named) == KeyFolder(tmp_path / "named")
        assert key_folder(tmp_path / "given", environment=named) == KeyFolder(tmp_path / "given")

    def test_a_relative_or_missing_xdg_home_is_ignored(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        for config in (
            {},
            {"XDG_CONFIG_HOME": "here"},
            {"XDG_CONFIG_HOME": "", "LMERASER_KEYS": ""},
        ):
            assert (
                key_folder(environment=config).path
                == tmp_path / ".config" / "lmeraser_ray" / "keys"
            )


class TestFolder:
    def test_the_first_use_of_the_default_place_makes_a_key_and_says_so(
        self, folder: KeyFolder
    ) -> None:
        assert folder.public_keys() == {}
        assert not folder.path.exists()
        first, second = folder.current(), folder.current()
        assert (first.made, second.made) == (True, False)
        assert first.keyid == second.keyid
        assert list(folder.public_keys()) == [first.keyid]
        assert [
            mode(path) for path in (folder.path, folder.private_path, folder.path / "public")
        ] == [0o700, 0o600, 0o700]
        assert sorted(path.name for path in folder.path.iterdir()) == ["private.pem", "public"]

    def test_a_named_place_gets_a_key_from_init_only(self, tmp_path: Path) -> None:
        named = KeyFolder(tmp_path / "a b")
        for use in (named.current, named.public_keys, named.rotate):
            with pytest.raises(ConfigError, match=r"lmeraser keys init --keys '.*a b'"):
                use()
        assert not named.path.exists()
        made = named.init()
        assert named.current().keyid == made.keyid
        with pytest.raises(ConfigError, match="rotate"):
            named.init()
        assert named.current().keyid == made.keyid

    def test_old_public_keys_keep_verifying_after_rotate(self, folder: KeyFolder) -> None:
        envelopes = [sign(PAYLOAD, folder.current())]
        for _ in range(3):
            envelopes.append(sign(PAYLOAD, folder.rotate()))
        assert len(set(envelopes)) == 4
        keys = folder.public_keys()
        assert len(keys) == 4
        assert [verify(envelope, keys).keyid for envelope in envelopes][
            -1
        ] == folder.current().keyid

    def test_a_key_id_is_the_digest_of_the_der(self, folder: KeyFolder) -> None:
        """As `openssl pkey -pubin -outform DER | sha256sum` has it: a PEM file is the DER in base64
        between two lines."""
        made = folder.current()
        [_, *body, _] = folder.public_path(made.keyid).read_text().splitlines()
        assert hashlib.sha256(base64.b64decode("".join(body))).hexdigest() == made.keyid

    @pytest.mark.parametrize(
        ("name", "bad", "good"),
        [("", 0o755, 0o700), ("public", 0o770, 0o700), ("private.pem", 0o640, 0o600)],
    )
    def test_modes_that_let_others_in_are_refused_with_the_command(
        self, folder: KeyFolder, name: str, bad: int, good: int
    ) -> None:
        folder.current()
        path = folder.path / name if name else folder.path
        path.chmod(bad)
        for use in (folder.current, folder.rotate):
            with pytest.raises(
                ConfigError,
                match=f"has mode {bad:04o}, expected {good:04o}.*`chmod {good:o} {path}`",
            ):
                use()
        if name != "private.pem":
            with pytest.raises(ConfigError, match="chmod"):
                folder.public_keys()
        path.chmod(good)
        folder.current()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_another_users_key_is_refused(self, folder: KeyFolder) -> None:
        folder.current()
        os.chown(folder.private_path, 12345, -1)
        with pytest.raises(ConfigError, match="belongs to user 12345"):
            folder.current()

    def test_a_damaged_key_is_refused_and_not_replaced(self, folder: KeyFolder) -> None:
        made = folder.current()
        wrong = X25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        sealed = made.private.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")
        )
        whole = folder.private_path.read_bytes()
        for bad in (b"", whole[: len(whole) // 2], wrong, sealed, os.urandom(100)):
            folder.private_path.write_bytes(bad)
            for use in (folder.current, folder.rotate):
                with pytest.raises(VerificationError, match=r"private\.pem"):
                    use()
            assert folder.private_path.read_bytes() == bad

    def test_a_lost_private_key_is_said_and_no_other_made_in_silence(
        self, folder: KeyFolder
    ) -> None:
        made = folder.current()
        folder.private_path.unlink()
        with pytest.raises(ConfigError, match="was lost or removed"):
            folder.current()
        again = folder.init()
        assert set(folder.public_keys()) == {made.keyid, again.keyid}

    def test_a_public_key_under_another_name_is_found(self, folder: KeyFolder) -> None:
        first, second = folder.current(), folder.rotate()
        os.replace(folder.public_path(first.keyid), folder.public_path(second.keyid))
        with pytest.raises(VerificationError, match="is not its name"):
            folder.public_keys()

    def test_what_is_no_public_key(self, folder: KeyFolder, tmp_path: Path) -> None:
        """A private key handed out by mistake, another kind of key, no key."""
        made = folder.current()
        assert (
            read_public_key(folder.public_path(made.keyid))[0]
            == made.keyid
            == keyid_of(made.public)
        )
        with pytest.raises(VerificationError, match="never handed out"):
            read_public_key(folder.private_path)
        other = tmp_path / "other.pem"
        other.write_bytes(
            X25519PrivateKey.generate()
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        with pytest.raises(VerificationError, match="expected an Ed25519 key"):
            read_public_key(other)
        other.write_bytes(b"-----BEGIN PUBLIC KEY-----\n")
        with pytest.raises(VerificationError, match="damaged"):
            read_public_key(other)
        with pytest.raises(ConfigError, match="cannot be read"):
            read_public_key(tmp_path / "none.pem")

    def test_32_first_uses_at_once_make_one_key(self, folder: KeyFolder) -> None:
        with ThreadPoolExecutor(32) as pool:
            made = list(pool.map(lambda _: folder.current(), range(32)))
        assert len({key.keyid for key in made}) == 1
        assert sum(key.made for key in made) == 1

    def test_what_is_tried_is_no_leftover(
        self, folder: KeyFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another command rotates the keys while this one tries whether the folder can be
        written."""
        real, rotated = keystore.write_temporary, list[Future[SigningKey]]()

        def rotating(place: Path, chunks: list[bytes]) -> tuple[Location, str]:
            found = real(place, chunks)
            if chunks == [b"?"]:
                rotated.append(pool.submit(folder.rotate))
                wait_until(lambda: rotated[0].done() or waiting(folder.path))
            return found

        folder.current()
        monkeypatch.setattr(keystore, "write_temporary", rotating)
        with ThreadPoolExecutor(1) as pool:
            folder.require_ready()
            assert rotated[0].result().keyid == folder.current().keyid

    def test_a_full_or_read_only_place_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(ExecutionError, match="could not be"):
            KeyFolder(Path("/proc/keys/lmeraser"), default=True).current()


CHANGES = ("replace", "mkdir", "fsync", "open", "unlink")
DIES = f"""
import os, sys
from pathlib import Path
from lmeraser_ray.erasure.certificate.keystore import KeyFolder

count, fatal = 0, int(sys.argv[3])

def dying(real):
    def change(*args, **options):
        global count
        if str(sys.argv[1]) in str(args) or real is fsync:
            count += 1
            if count == fatal:
                os._exit(9)
        return real(*args, **options)
    return change

fsync = os.fsync
for name in {CHANGES}:
    setattr(os, name, dying(getattr(os, name)))
getattr(KeyFolder(Path(sys.argv[1]), default=True), sys.argv[2])()
"""


@pytest.mark.parametrize("what", ["current", "rotate"])
def test_a_crash_at_every_write_leaves_a_usable_key(folder: KeyFolder, what: str) -> None:
    """A process that dies before its n-th change of the disk, for every n; then the old key or a
    new one signs, and both verify."""
    before = None
    if what == "rotate":
        before = folder.current().keyid
        old = sign(PAYLOAD, folder.current())
    seen = []
    for fatal in range(1, 60):
        if what == "current":
            subprocess.run(["rm", "-rf", folder.path], check=True)
        known = set(folder.public_keys())
        done = subprocess.run(
            [sys.executable, "-c", DIES, folder.path, what, str(fatal)],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode in (0, 9), done.stderr
        now = folder.current()
        keys = folder.public_keys()
        assert known <= set(keys)
        assert verify(sign(PAYLOAD, now), keys).keyid == now.keyid
        assert len(keys) <= len(known) + 1
        assert mode(folder.private_path) == 0o600
        if before:
            assert verify(old, keys)
            seen.append(now.keyid in known)
        if done.returncode == 0:
            break
    assert done.returncode == 0
    assert fatal > 6
    if before:
        assert set(seen) == {True, False}
        folder.rotate()
        assert sorted(path.name for path in folder.path.iterdir()) == ["private.pem", "public"], (
            "no private key of a crash is left"
        )
