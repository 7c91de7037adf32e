"""Signatures: an envelope verifies as it is and in no other form, and the folder of keys survives a
crash at every write."""

import base64
import hashlib
import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer._key import SSlibKey

from lmeraser_ray.erasure.certificate.dsse import HEAD_TYPE, SigningKey, keyid_of, sign, verify
from lmeraser_ray.erasure.certificate.keystore import KeyFolder, key_folder, read_public_key
from lmeraser_ray.errors import ConfigError, ExecutionError, VerificationError
from lmeraser_ray.storage.digests import canonical_json

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
KEYS = {KEY.keyid: KEY.public}
PAYLOAD = canonical_json({"erased": ["é", 1, None], "text": "0" * 90})
ORDER = 2**252 + 27742317777372353535851937790883648493
"""The order of Ed25519's group."""


def refused(envelope: bytes) -> str:
    """Why an envelope does not verify."""
    with pytest.raises(VerificationError) as error:
        verify(envelope, KEYS)
    return str(error.value)


class TestEnvelope:
    def test_what_was_signed_comes_back_with_who_signed_it(self) -> None:
        found = verify(sign(PAYLOAD, KEY), KEYS)
        assert (found.payload, found.keyid) == (PAYLOAD, KEY.keyid)

    def test_signing_again_gives_the_same_bytes(self) -> None:
        assert sign(PAYLOAD, KEY) == sign(PAYLOAD, KEY)

    def test_securesystemslib_verifies_it(self) -> None:
        """Another implementation of DSSE, with the public key alone."""
        read = Envelope.from_dict(json.loads(sign(PAYLOAD, KEY)))
        public = SSlibKey.from_crypto(KEY.public, KEY.keyid)
        assert read.verify([public], 1) == {KEY.keyid: public}
        assert read.payload == PAYLOAD

    def test_every_flipped_bit_and_every_changed_length_is_found(self) -> None:
        """Each bit of each byte; each byte left out, and each doubled; a cut anywhere, anything at
        either end."""
        envelope = sign(PAYLOAD, KEY)
        for at in range(len(envelope)):
            for bit in range(8):
                refused(envelope[:at] + bytes([envelope[at] ^ 1 << bit]) + envelope[at + 1 :])
            refused(envelope[:at])
            if envelope[:at] + envelope[at + 1 :] != envelope:
                refused(envelope[:at] + envelope[at + 1 :])
            refused(envelope[: at + 1] + envelope[at:])
        for end in (b"\n", b" ", b"\0", b"{}"):
            refused(envelope + end)
            refused(end + envelope)
        assert len(envelope) > 350

    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def test_no_other_bytes_verify(self, data: st.DataObject) -> None:
        """Any splice of any bytes into an envelope."""
        envelope = sign(PAYLOAD, KEY)
        start = data.draw(st.integers(0, len(envelope)))
        end = data.draw(st.integers(start, len(envelope)))
        changed = envelope[:start] + data.draw(st.binary(max_size=8)) + envelope[end:]
        if changed != envelope:
            refused(changed)

    def test_the_same_json_in_other_bytes_is_refused(self) -> None:
        """White space, the order of keys, escapes, fields that nobody signed, a key twice, a second
        signature."""
        envelope = sign(PAYLOAD, KEY)
        tree = json.loads(envelope)
        [signature] = tree["signatures"]
        others = [
            json.dumps(tree).encode(),
            json.dumps(dict(reversed(tree.items())), separators=(",", ":")).encode(),
            envelope.replace(b"application/", b"\\u0061pplication/"),
            canonical_json({**tree, "note": "met"}),
            canonical_json({**tree, "signatures": [{**signature, "note": "met"}]}),
            canonical_json({**tree, "signatures": [signature, signature]}),
            canonical_json({**tree, "signatures": []}),
            canonical_json({**tree, "signatures": {"keyid": KEY.keyid}}),
            envelope.replace(b'{"payload"', b'{"payload":"","payload"', 1),
            b"\xef\xbb\xbf" + envelope,
            envelope.decode().encode("utf-16"),
        ]
        for other in others:
            assert other != envelope
            refused(other)

    @pytest.mark.parametrize("field", ["payload", "sig"])
    def test_base64_has_one_form(self, field: str) -> None:
        """Padding bits that are not zero, a line break, the URL alphabet, no padding: the same
        bytes to a lenient reader."""
        payload = PAYLOAD + b"\xfb\xff" * (1 if len(PAYLOAD) % 3 == 2 else 2)
        assert len(payload) % 3
        envelope = sign(payload, KEY)
        tree = json.loads(envelope)
        holder = tree if field == "payload" else tree["signatures"][0]
        text = holder[field]
        stem = text.rstrip("=")
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        sloppy = stem[:-1] + alphabet[alphabet.index(stem[-1]) + 1] + "=" * (len(text) - len(stem))
        assert base64.b64decode(sloppy) == base64.b64decode(text)
        for other in (
            sloppy,
            f"{text[:8]}\n{text[8:]}",
            stem,
            text.replace("+", "-").replace("/", "_"),
            text + "=",
            5,
            None,
        ):
            holder[field] = other
            if other != text:
                refused(canonical_json(tree))

    def test_a_malleable_signature_is_refused(self) -> None:
        """S + L is the same number to a group of order L (RFC 8032 asks for S < L)."""
        tree = json.loads(sign(PAYLOAD, KEY))
        sig = base64.b64decode(tree["signatures"][0]["sig"])
        larger = int.from_bytes(sig[32:], "little") + ORDER
        tree["signatures"][0]["sig"] = base64.b64encode(
            sig[:32] + larger.to_bytes(32, "little")
        ).decode()
        assert "not that of key" in refused(canonical_json(tree))

    def test_no_envelope_at_all(self) -> None:
        for junk in (
            b"",
            b"{}",
            b"[]",
            b"null",
            b"\xff",
            b"[" * 100_000,
            b'{"payload":1}',
            PAYLOAD,
            os.urandom(300),
        ):
            assert "no signed envelope" in refused(junk)

    def test_another_kind_of_payload_is_no_certificate(self) -> None:
        """A signed head of the ledger cannot stand for a statement, nor can its type be
        exchanged."""
        head = sign(PAYLOAD, KEY, payload_type=HEAD_TYPE)
        assert "ledger-head" in refused(head)
        assert verify(head, KEYS, payload_type=HEAD_TYPE).payload == PAYLOAD
        tree = json.loads(head)
        tree["payloadType"] = "application/vnd.in-toto+json"
        assert "not that of key" in refused(canonical_json(tree))

    def test_an_unknown_key_is_named_with_the_way_to_get_it(self) -> None:
        stranger = SigningKey(Ed25519PrivateKey.generate())
        said = refused(sign(PAYLOAD, stranger))
        assert stranger.keyid in said
        assert "--public_key" in said
        with pytest.raises(VerificationError, match="no public key is at hand"):
            verify(sign(PAYLOAD, KEY), {})

    def test_a_key_cannot_pass_for_another(self) -> None:
        """The id in the envelope is not signed by DSSE: with the id of a known key, or a key under
        another's id, nothing verifies."""
        stranger = SigningKey(Ed25519PrivateKey.generate())
        tree = json.loads(sign(PAYLOAD, stranger))
        tree["signatures"][0]["keyid"] = KEY.keyid
        assert "not that of key" in refused(canonical_json(tree))
        with pytest.raises(VerificationError, match="another key"):
            verify(canonical_json(tree), {KEY.keyid: stranger.public})


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
