"""Digests, keyed hashes and seeds, from which all keys and all randomness of a workspace derive.

Invariants: a digest is a full SHA-256 over a domain tag and length-prefixed parts, so two different
inputs never have the same encoding; hashed JSON is canonical (RFC 8785); a seed is a function of a
key and of nothing else.

    >>> key = key_of("shard/1", b"learner", b"members")
    >>> len(key), 0 <= generator_seed(key) < 2**63
    (64, True)
"""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Any

import rfc8785

DIGEST_BYTES = 32


def digest(domain: str, *parts: bytes) -> bytes:
    """SHA-256 over `domain` and `parts`, each part after its length. Returns 32 bytes."""
    state = hashlib.sha256(f"lmeraser_ray/{domain}\n".encode())
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.digest()


def canonical_json(value: Any) -> bytes:
    """The RFC 8785 bytes of a JSON value."""
    return rfc8785.dumps(value)


def key_of(domain: str, *parts: bytes) -> str:
    """`digest` as 64 hexadecimal digits: the key of an object in the store."""
    return digest(domain, *parts).hex()


def seeded_key(seed: int, domain: str) -> bytes:
    """The 32-byte key of the keyed hashes that a configuration's seed determines. The key is part
    of the identity, and no secret."""
    return digest(f"seed/{domain}", str(seed).encode())


def keyed_hash(key: bytes, text: str) -> bytes:
    """HMAC-SHA-256 of a text. Returns 32 bytes. Surrogates, in which a shell passes on bytes that
    are no UTF-8, are hashed too."""
    return hmac.digest(key, text.encode(errors="surrogatepass"), "sha256")


def keyed_digest(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA-256 of bytes. Returns 32 bytes."""
    return hmac.digest(key, data, "sha256")


def keyed_hashes(key: bytes, texts: Iterable[str]) -> list[bytes]:
    """HMAC-SHA-256 (RFC 2104) of each text, in order. A million texts take less than a second,
    since the two blocks of the key are hashed once."""
    padded = (key if len(key) <= 64 else hashlib.sha256(key).digest()).ljust(64, b"\0")
    begun, ended = (hashlib.sha256(bytes(byte ^ pad for byte in padded)) for pad in (0x36, 0x5C))
    found: list[bytes] = []
    for text in texts:
        inner, outer = begun.copy(), ended.copy()
        inner.update(text.encode())
        outer.update(inner.digest())
        found.append(outer.digest())
    return found


def unit_interval(keyed: bytes) -> float:
    """A keyed hash as a number in [0, 1): its first 53 bits, the precision of a float64."""
    return (int.from_bytes(keyed[:8], "big") >> 11) / 2**53


def bucket_of(keyed: bytes, buckets: int) -> int:
    """The bucket, 0 ≤ bucket < `buckets`, of a keyed hash (the bias is below buckets / 2^64)."""
    return int.from_bytes(keyed[:8], "big") % buckets


def generator_seed(key: str) -> int:
    """The seed, 0 ≤ seed < 2^63, of a torch generator for the work whose key this is."""
    return int.from_bytes(digest("generator", bytes.fromhex(key))[:8], "big") >> 1
