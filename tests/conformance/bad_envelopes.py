"""Certificates that are refused for what is around the statement: the envelope's encoding, its
type, its key, its signature. The statement itself is good."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.conformance.forge import (
    KEY,
    ORDER,
    STRANGER,
    Case,
    Json,
    at,
    b64,
    canonical,
    changed,
    drop,
    envelope,
    pae,
    put,
    sealed,
    swapped,
)
from tests.conformance.statements import VERSION_1

PAYLOAD = canonical(VERSION_1)
GOOD = sealed(PAYLOAD)
BYTES = canonical(GOOD)
SIG = KEY.private.sign(pae(PAYLOAD))
SIGNATURE = "signatures.0"
FIELDS = ("payload", "payloadType", "signatures", f"{SIGNATURE}.keyid", f"{SIGNATURE}.sig")
HEAD_TYPE = "application/vnd.lmeraser-ray.ledger-head+json"
ORDER_2 = bytes.fromhex("ec" + "ff" * 30 + "7f")
"""The point (0, -1): twice this point is zero."""
ZERO_AGAIN = bytes.fromhex("ee" + "ff" * 30 + "7f")
"""Zero, whose y is 1, written as p + 1."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
Named = Iterator[tuple[str, str, bytes]]
"""Name, reason and bytes."""


def not_json() -> Named:
    """What no parser, or only a lenient one, reads."""
    yield "empty", "No bytes.", b""
    yield "truncated", "The last byte is missing.", BYTES[:-1]
    for name, data in (("a-list", [GOOD]), ("null", None), ("a-number", 1), ("a-string", "x")):
        yield name, "It is no object.", canonical(data)
    yield "an-empty-object", "It has no field.", b"{}"
    yield "nested", "10,000 levels.", b"[" * 10_000
    yield "nan", "NaN is no JSON.", b'{"payload":NaN' + BYTES[BYTES.index(b',"payloadType') :]
    yield "a-comment", "JSON has none.", b"/**/" + BYTES
    yield "two-documents", "One after the other.", BYTES + BYTES
    bad = swapped(BYTES, KEY.keyid, b"\xff" + KEY.keyid[1:].encode())
    yield "no-utf-8", "A byte that is no UTF-8.", bad
    slash = BYTES.replace(b"application/", b"application\xc0\xaf")
    yield "overlong-utf-8", "A slash in two bytes.", slash


def other_encodings() -> Named:
    """The same JSON value, in bytes that are not the one encoding of it."""
    text = BYTES.decode()
    yield "trailing-newline", "A byte too many.", BYTES + b"\n"
    yield "leading-space", "A byte too many.", b" " + BYTES
    yield "trailing-nul", "A byte too many.", BYTES + b"\0"
    yield "bom", "A byte order mark.", b"\xef\xbb\xbf" + BYTES
    yield "utf-16", "Other bytes for the same text.", text.encode("utf-16-le")
    yield "utf-16-with-bom", "Other bytes for the same text.", text.encode("utf-16")
    yield "utf-32", "Other bytes for the same text.", text.encode("utf-32-be")
    yield "indented", "White space.", json.dumps(GOOD, indent=1).encode()
    yield "spaces", "White space.", json.dumps(GOOD, sort_keys=True).encode()
    turned = json.dumps(dict(reversed(GOOD.items())), separators=(",", ":"))
    yield "names-in-another-order", "They are not sorted.", turned.encode()
    escapes = (("payload", "\\u0070ayload"), ("application/", "application\\/"))
    yield (
        "an-escaped-letter",
        "A name with `\\u0070`.",
        swapped(BYTES, *(f'"{e}"' for e in escapes[0])),
    )
    yield "an-escaped-slash", "`\\/` for `/`.", swapped(BYTES, *escapes[1])
    yield "payload-twice", "The same field twice.", b'{"payload":"e30=",' + BYTES[1:]
    same = b"{" + canonical({"payload": GOOD["payload"]})[1:-1] + b"," + BYTES[1:]
    yield "payload-twice-the-same", "The same field twice.", same
    again = f'"keyid":"{STRANGER.keyid}","keyid":'
    yield "keyid-twice", "The same field twice.", swapped(BYTES, '"keyid":', again)


def other_shapes() -> Named:
    """Fields that are missing, too many or of another type."""
    for path in FIELDS:
        name = path.replace(f"{SIGNATURE}.", "")
        yield f"without-{name}", "A field is missing.", canonical(changed(GOOD, drop(path)))
        values: dict[str, object] = {
            "null": None,
            "number": 7,
            "true": True,
            "list": [at(GOOD, path)],
        }
        values["object"] = {"keyid": at(GOOD, path)}
        for kind, value in values.items():
            whole = changed(GOOD, put(path, value))
            yield f"{name}-a-{kind}", "Of another type.", canonical(whole)
    shapes: dict[str, Callable[[Json], object]] = {
        "another-field": put("more", 1),
        "another-field-of-the-signature": put(f"{SIGNATURE}.cert", ""),
        "no-signature": put("signatures", []),
        "two-signatures": put("signatures", GOOD["signatures"] * 2),
        "a-null-signature": put(SIGNATURE, None),
        "signatures-a-string": put("signatures", "x"),
    }
    for name, change in shapes.items():
        yield name, "It has another shape.", canonical(changed(GOOD, change))
    two = [*GOOD["signatures"], sealed(PAYLOAD, STRANGER)["signatures"][0]]
    yield (
        "signed-by-two",
        "One signature, not two.",
        canonical(changed(GOOD, put("signatures", two))),
    )
    keyid = put(f"{SIGNATURE}.keyid", "SURROGATE")
    lone = swapped(canonical(changed(GOOD, keyid)), "SURROGATE", "\\ud800")
    yield "a-lone-surrogate", "It is no character.", lone


def other_base64() -> Named:
    """The same bytes in base64, but not the one encoding."""
    for path in ("payload", f"{SIGNATURE}.sig"):
        text, name = str(at(GOOD, path)), path.rpartition(".")[2]
        # the last letter before the padding has bits that say nothing
        end = len(text.rstrip("="))
        spare = text[: end - 1] + LETTERS[LETTERS.index(text[end - 1]) + 1] + text[end:]
        texts = {
            "padding-bits": spare,
            "without-padding": text.rstrip("="),
            "more-padding": text + "====",
            "a-space": text[:8] + " " + text[8:],
            "a-newline": text + "\n",
            "padding-within": text[:8] + "====" + text[8:],
            "another-letter": text[:8] + "*" + text[8:],
            "no-ascii": text[:8] + "é" + text[8:],
        }
        for kind, other in texts.items():
            assert other != text
            yield (
                f"{name}-{kind}",
                "Not the one base64.",
                canonical(changed(GOOD, put(path, other))),
            )
    url = changed(
        GOOD, put("payload", b64(b"\xfb\xff\xbf" + PAYLOAD).replace("+", "-").replace("/", "_"))
    )
    yield "payload-of-urls", "The alphabet of URLs.", canonical(url)


def other_types() -> Named:
    """Rightly signed, and something else."""
    for name, kind in {
        "a-ledger-head": HEAD_TYPE,
        "json": "application/json",
        "upper-case": "Application/vnd.in-toto+json",
        "a-parameter": "application/vnd.in-toto+json;charset=utf-8",
        "nothing": "",
    }.items():
        yield name, f"The payload is of type {kind!r}.", canonical(sealed(PAYLOAD, kind=kind))


def other_keys() -> Named:
    """Ids of keys that are not at hand."""
    why = "No key at hand has this id."
    yield (
        "a-stranger",
        "A good certificate, of a key not at hand.",
        canonical(sealed(PAYLOAD, STRANGER)),
    )
    for name, keyid in {
        "upper-case": KEY.keyid.upper(),
        "a-part": KEY.keyid[:16],
        "a-space": f"{KEY.keyid} ",
        "nothing": "",
        "a-special-name": "__proto__",
    }.items():
        yield name, why, canonical(envelope(PAYLOAD, SIG, keyid=keyid))


def flipped(data: bytes, at_byte: int) -> bytes:
    """With one bit of a byte changed."""
    return data[:at_byte] + bytes([data[at_byte] ^ 1]) + data[at_byte + 1 :]


def other_signatures() -> Named:
    """Signatures that are not the key's over these bytes."""
    message = pae(PAYLOAD)
    larger = SIG[:32] + (int.from_bytes(SIG[32:], "little") + ORDER).to_bytes(32, "little")
    found: dict[str, tuple[str, bytes]] = {
        "of-another-key": ("A stranger's, under the key's id.", STRANGER.private.sign(message)),
        "a-bit-of-r": ("One bit differs.", flipped(SIG, 0)),
        "a-bit-of-s": ("One bit differs.", flipped(SIG, 40)),
        "s-plus-l": ("RFC 8032: S is below L, else anybody can write it anew.", larger),
        "zeros": ("64 zeros.", bytes(64)),
        "nothing": ("No bytes.", b""),
        "63-bytes": ("A byte is missing.", SIG[:-1]),
        "65-bytes": ("A byte too many.", SIG + b"\0"),
        "halves-exchanged": ("S before R.", SIG[32:] + SIG[:32]),
        "r-of-small-order": (
            "8SB = 8R + 8kA holds, and SB = R + kA does not.",
            KEY.answer(ORDER_2, 0, message),
        ),
        "r-written-otherwise": (
            "R is zero, not in its one encoding.",
            KEY.answer(ZERO_AGAIN, 0, message),
        ),
        "of-the-payload-alone": ("Without DSSE's frame.", KEY.private.sign(PAYLOAD)),
        "of-another-type": (
            "The frame names another type.",
            KEY.private.sign(pae(PAYLOAD, HEAD_TYPE)),
        ),
        "of-another-statement": ("Of other bytes.", KEY.private.sign(pae(flipped(PAYLOAD, 99)))),
        "of-the-base64": (
            "The payload is signed as bytes.",
            KEY.private.sign(pae(b64(PAYLOAD).encode())),
        ),
    }
    for name, (why, sig) in found.items():
        yield name, why, canonical(envelope(PAYLOAD, sig))
    later = swapped(PAYLOAD, '"passes":1200', '"passes":1201')
    yield "a-changed-statement", "A number differs.", canonical(envelope(later, SIG))


def bad_envelopes() -> Iterator[Case]:
    groups: dict[str, list[Any]] = {
        "encoding": [not_json, other_encodings, other_shapes, other_base64],
        "type": [other_types],
        "key": [other_keys],
        "signature": [other_signatures],
    }
    for step, makers in groups.items():
        for maker in makers:
            for name, why, data in maker():
                yield Case(f"{step}/{name}", step, why, data)
