"""`fingerprint`: one SHA-256 over all that a workspace holds of the private data."""

from lmeraser_ray.errors import VerificationError
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.store import Store


def fingerprint(session: Session) -> str:
    """Return the SHA-256 over all that the workspace holds of the private data, after reading and
    checking the bytes of every object.

    Errors: `VerificationError` that names the first damaged object.
    """
    return session.consistently(lambda state: fingerprint_of(session.folder.store, state.manifest))


def fingerprint_of(store: Store, manifest: Manifest) -> str:
    """Return the fingerprint of one published state, after reading every object that it names."""
    for item in manifest.objects():
        if not store.sound(item):
            raise VerificationError(
                f"{item.name} is missing or damaged, so there is no fingerprint: run `lmeraser "
                "verify`."
            )
    return manifest.fingerprint
