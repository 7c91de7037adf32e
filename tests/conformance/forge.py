"""How certificates are made here: raw JSON, so that they can be wrong; keys; signatures of all
kinds."""

import base64
import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Json = dict[str, Any]
TYPE = "application/vnd.in-toto+json"
ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of the group of Ed25519: L in RFC 8032."""


@dataclass(frozen=True)
class Case:
    """A certificate, what a verifier must make of it, and why."""

    name: str
    verdict: str
    why: str
    data: bytes

    def line(self) -> str:
        """Its line in `cases.jsonl`."""
        try:
            held = {"text": self.data.decode()} if self.data.decode().isprintable() else None
        except UnicodeDecodeError:
            held = None
        held = held or {"base64": base64.b64encode(self.data).decode()}
        about = {"name": self.name, "verdict": self.verdict, "why": self.why}
        return json.dumps(about | held, ensure_ascii=False)

    @classmethod
    def read(cls, line: str) -> "Case":
        found = json.loads(line)
        text, coded = found.get("text"), found.get("base64")
        data = base64.b64decode(coded) if text is None else text.encode()
        return cls(found["name"], found["verdict"], found["why"], data)


class TestOnlyKey:
    """A key that everybody knows: nothing but the cases of this folder is signed with it."""

    __test__ = False

    def __init__(self, words: str) -> None:
        self.seed = hashlib.sha256(
            f"lmeraser_ray conformance, tests only: {words}".encode()
        ).digest()
        self.private = Ed25519PrivateKey.from_private_bytes(self.seed)
        public = self.private.public_key()
        self.raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.keyid = hashlib.sha256(der).hexdigest()

    @property
    def scalar(self) -> int:
        """The secret number of RFC 8032, 5.1.5."""
        low = bytearray(hashlib.sha512(self.seed).digest()[:32])
        low[0] &= 248
        low[31] = low[31] & 127 | 64
        return int.from_bytes(low, "little")

    def answer(self, point: bytes, nonce: int, message: bytes) -> bytes:
        """A signature whose first half is `point`, which should be `nonce` times the base."""
        hashed = hashlib.sha512(point + self.raw + message).digest()
        answer = (nonce + int.from_bytes(hashed, "little") * self.scalar) % ORDER
        return point + answer.to_bytes(32, "little")


KEY, OLD_KEY, STRANGER = (TestOnlyKey(words) for words in ("key", "old key", "stranger"))
AT_HAND = {"key.pem": KEY, "old-key.pem": OLD_KEY}
"""The public keys that a verifier is given."""


def pae(payload: bytes, kind: str = TYPE) -> bytes:
    """What DSSE v1 signs."""
    return b"DSSEv1 %d %b %d %b" % (len(kind.encode()), kind.encode(), len(payload), payload)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def envelope(payload: bytes, sig: bytes, *, kind: str = TYPE, keyid: str = KEY.keyid) -> Json:
    """An envelope, as JSON."""
    signature = {"keyid": keyid, "sig": b64(sig)}
    return {"payload": b64(payload), "payloadType": kind, "signatures": [signature]}


def sealed(payload: bytes, key: TestOnlyKey = KEY, kind: str = TYPE) -> Json:
    """A payload, rightly signed."""
    return envelope(payload, key.private.sign(pae(payload, kind)), kind=kind, keyid=key.keyid)


def canonical(value: object) -> bytes:
    return rfc8785.dumps(value)  # type: ignore[arg-type]


def certificate(whole: Json, key: TestOnlyKey = KEY) -> bytes:
    """The certificate of a statement, which may be wrong; its signature is right."""
    return canonical(sealed(canonical(whole), key))


def changed(whole: Json, *changes: Callable[[Json], object]) -> Json:
    """A copy with changes made to it."""
    found = copy.deepcopy(whole)
    for change in changes:
        change(found)
    return found


def at(whole: Any, path: str) -> Any:
    """What a path such as `predicate.erased.targets.0` leads to."""
    for step in path.split(".") if path else ():
        whole = whole[int(step) if step.isdigit() else step]
    return whole


def put(path: str, value: object) -> Callable[[Json], None]:
    """A change: this value there."""
    above, _, last = path.rpartition(".")
    return lambda whole: at(whole, above).__setitem__(int(last) if last.isdigit() else last, value)


def drop(path: str) -> Callable[[Json], None]:
    """A change: nothing there."""
    above, _, last = path.rpartition(".")
    return lambda whole: at(whole, above).__delitem__(last)


def swapped(payload: bytes, old: str, new: str | bytes) -> bytes:
    """Bytes with a text replaced that they have once."""
    assert payload.count(old.encode()) == 1, (old, payload.count(old.encode()))
    return payload.replace(old.encode(), new.encode() if isinstance(new, str) else new)
