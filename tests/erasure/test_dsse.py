"""Signatures: an envelope verifies as it is and in no other form."""

import base64
import json
import os

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer._key import SSlibKey

from lmeraser_ray.erasure.certificate.dsse import HEAD_TYPE, SigningKey, sign, verify
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.digests import canonical_json
from tests.support.statements import PAYLOAD

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
KEYS = {KEY.keyid: KEY.public}
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
