"""The folder of signing keys, outside Ray and its workers: keys are created, rotated and read so
that no other user can read one and no crash loses one.

    ~/.config/lmeraser_ray/keys/   0700, the default place: created at first need
      private.pem                  0600, PKCS #8: the key that signs now
      public/<keyid>.pem           each public key that ever signed: old certificates keep verifying
      heads/<workspace>-….json     the head of a workspace's ledger at the last signature

`--keys DIR` and LMERASER_KEYS name another folder, which only `lmeraser keys init` creates.
Invariants: one process changes the folder at a time (a lock on the folder); one rename replaces the
private key, so that a crash leaves the old one or the new one; loading a key first writes its
public key into `public/` where that is missing. A mode that lets other users in is refused, with
the command that changes it; it is not corrected silently, since somebody may have meant it.
"""

import fcntl
import hashlib
import os
import re
import shlex
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from lmeraser_ray.erasure.certificate.dsse import SigningKey, keyid_of
from lmeraser_ray.errors import ConfigError, VerificationError
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.files import disk_errors, make_folder, move_into_place, write_temporary
from lmeraser_ray.storage.foreign_json import read_bounded
from lmeraser_ray.storage.home import NO_HOME, home_folder

ENVIRONMENT = "LMERASER_KEYS"
TEMPORARY = re.compile(r"\d+-[0-9a-f]{16}")


def key_folder(
    explicit: Path | None = None, *, environment: Mapping[str, str] | None = None
) -> "KeyFolder":
    """The folder to use: `explicit`, else that of LMERASER_KEYS, else the default place below
    XDG_CONFIG_HOME or ~/.config. environment: None for this process's."""
    named = os.environ if environment is None else environment
    if explicit or named.get(ENVIRONMENT):
        return KeyFolder((explicit or Path(named[ENVIRONMENT])).absolute())
    base = Path(
        named.get("XDG_CONFIG_HOME", "")
    )  # to be ignored where it is not absolute (XDG base directory specification)
    return KeyFolder(
        (base if base.is_absolute() else home_folder() / ".config") / "lmeraser_ray" / "keys",
        default=True,
    )


@dataclass(frozen=True)
class KeyFolder:
    """A folder of signing keys. default: whether it is the default place, where a key is created at
    first need; elsewhere only `init` creates one."""

    path: Path
    default: bool = False

    def require_place(self) -> None:
        """Errors: `ConfigError` where there is no default place, because the user has no home."""
        if self.default and self.path.is_relative_to(NO_HOME):
            raise ConfigError(
                "This user has no home folder, so there is no default place for signing keys: "
                "make a folder by `lmeraser keys init --keys DIR` and set LMERASER_KEYS to it, or "
                "set HOME."
            )

    @property
    def private_path(self) -> Path:
        """The file of the key that signs now."""
        return self.path / "private.pem"

    def public_path(self, keyid: str) -> Path:
        """The file of a public key."""
        return self.path / "public" / f"{keyid}.pem"

    def head_path(self, names: Pseudonymizer) -> Path:
        """The file of the ledger's head at the last signature for a workspace. A copy of it in
        another place has a ledger of its own, which goes on in its own way."""
        root = names.root.resolve() if isinstance(names.root, Path) else names.root
        place = hashlib.sha256(str(root).encode()).hexdigest()[:12]
        return self.path / "heads" / f"{names.workspace_id}-{place}.json"

    def init(self) -> SigningKey:
        """Create the folder and the first key. Errors: `ConfigError` where there is a key."""
        with self.locked(create=True):
            if self.private_path.exists():
                raise ConfigError(
                    f"{self.path} has a signing key already: it is used as it is, or `lmeraser "
                    "keys rotate` replaces it."
                )
            return self._replace()

    def rotate(self) -> SigningKey:
        """Replace the signing key by a new one; the old public key stays. Errors: `ConfigError`
        where there is no key to replace."""
        with self.locked(create=False):
            self._load()
            return self._replace()

    def current(self) -> SigningKey:
        """The key that signs now. In the default place it is created where there never was one;
        `SigningKey.made` says so.

        Errors: `ConfigError` where there is no key or other users may read it, `VerificationError`
        where it is damaged.
        """
        if not self.default or self._any():
            with self.locked(create=False):
                return self._load()
        with self.locked(create=True):
            return self._load() if self._any() else self._replace()

    def require_ready(self) -> None:
        """Errors, before there is something to sign: those of `current`; `ExecutionError` where the
        folder cannot be written, as keeping the ledger's head will need."""
        self.current()
        heads = self.path / "heads"
        with self.locked(create=False), disk_errors(heads):  # else a new key's maker takes it away
            make_folder(heads)
            write_temporary(self.path, [b"?"])[0].unlink()

    def public_keys(self) -> dict[str, Ed25519PublicKey]:
        """Every public key by its id. Empty in a default place that does not exist.

        Errors: `ConfigError` where the folder does not exist or other users may read or write it,
        `VerificationError` where a file does not hold the key of its name.
        """
        if self.default and not self.path.exists():
            return {}
        self._require()
        found = {}
        for path in sorted((self.path / "public").glob("*.pem")):
            keyid, key = read_public_key(path)
            if keyid != path.stem:
                raise VerificationError(
                    f"{path} holds key {keyid}, which is not its name: somebody changed it. "
                    "Remove it, or name it so."
                )
            found[keyid] = key
        return found

    def _any(self) -> bool:
        """Whether there is, or ever was, a key."""
        return self.private_path.exists() or any((self.path / "public").glob("*.pem"))

    def _load(self) -> SigningKey:
        """Load the signing key, and write its public key where a crash prevented that. Call it with
        the folder locked."""
        if not self.private_path.exists():
            lost = (
                " (the public keys of earlier ones are there: its private.pem was lost or removed)"
                if self._any()
                else ""
            )
            raise ConfigError(
                f"{self.path} has no signing key{lost}: bring it back from a copy, or make one "
                f"with `{command('init', self)}`."
            )
        key = read_private_key(self.private_path)
        if not self.public_path(key.keyid).exists():
            self._write_public(key)
        return key

    def _replace(self) -> SigningKey:
        """Create a key and replace the signing key by it. Call it with the folder locked."""
        for path in self.path.iterdir():  # temporary files of a crash
            if TEMPORARY.fullmatch(path.name):
                path.unlink()
        key = SigningKey(Ed25519PrivateKey.generate(), made=True)
        pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        move_into_place(write_temporary(self.path, [pem])[0], self.private_path)
        self._write_public(key)
        return key

    def _write_public(self, key: SigningKey) -> None:
        """Add a key's public key to `public/`, durably."""
        path = self.public_path(key.keyid)
        with disk_errors(path):
            make_folder(path.parent)
        pem = key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        move_into_place(write_temporary(self.path, [pem])[0], path)

    @contextmanager
    def locked(self, *, create: bool) -> Iterator[None]:
        """Hold the folder's lock, after checking that only its owner may read and write it."""
        self.require_place()
        if create and not self.path.exists():
            with disk_errors(self.path):
                make_folder(self.path)
        self._require()
        with disk_errors(self.path):
            handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with disk_errors(self.path):
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _require(self) -> None:
        """Errors: `ConfigError` where there is no such folder, or other users may read or write
        it."""
        if not self.path.is_dir():
            raise ConfigError(
                f"{self.path} is no folder of signing keys: make it with "
                f"`{command('init', self)}`, or name another."
            )
        for path in (self.path, self.path / "public"):
            if path.exists():
                refuse_others(path, path.stat(), 0o700)


def command(what: str, folder: KeyFolder) -> str:
    """The command line of `keys` for this folder."""
    return f"lmeraser keys {what}" + (
        "" if folder.default else f" --keys {shlex.quote(str(folder.path))}"
    )


def refuse_others(path: Path, found: os.stat_result, wanted: int) -> None:
    """Errors: `ConfigError` where anyone but the user who runs this may read or write a file or
    folder."""
    if found.st_uid != os.geteuid():
        raise ConfigError(
            f"{path} belongs to user {found.st_uid}, and this runs as user {os.geteuid()}: run it "
            "as that user, or use other keys."
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise ConfigError(
            f"{path} has mode {mode:04o}, expected {wanted:04o}: others could read or change "
            f"signing keys. If nobody did, run `chmod {wanted:o} {shlex.quote(str(path))}`; if in "
            "doubt, `lmeraser keys rotate` too."
        )


def read_private_key(path: Path) -> SigningKey:
    """A private key, which nobody else may read. Errors: `ConfigError` on its mode,
    `VerificationError` on its bytes."""
    with disk_errors(path), open(path, "rb") as file:
        refuse_others(path, os.fstat(file.fileno()), 0o600)
        pem = file.read()
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise VerificationError(
            f"{path} is damaged, or no private key in PEM without a passphrase: bring it back "
            "from a copy, or move it away and make another with `lmeraser keys init`."
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise VerificationError(
            f"{path} holds a {type(key).__name__}, expected an Ed25519 key: make one with "
            "`lmeraser keys init`."
        )
    return SigningKey(key)


def read_public_key(path: Path) -> tuple[str, Ed25519PublicKey]:
    """A public key and its id. Errors: `ConfigError` where the file is not to be read,
    `VerificationError` where it is no such key."""
    try:
        pem = read_bounded(path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"{path} cannot be read ({why}): give the PEM file of a public key."
        ) from error
    if b"PRIVATE KEY" in pem:
        raise VerificationError(
            f"{path} holds a private key, expected a public one (public/<keyid>.pem). A private "
            "key is never handed out."
        )
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise VerificationError(
            f"{path} is damaged or no public key in PEM: get it again from whoever signs."
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise VerificationError(
            f"{path} holds a {type(key).__name__}, expected an Ed25519 key: get the right file "
            "from whoever signs."
        )
    return keyid_of(key), key
