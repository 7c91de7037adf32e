"""The client of a bucket, and its errors as the `OSError`s of a disk."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import Any

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import from_url

NO_BUCKET = "NoSuchBucket"
METADATA = ("169.254.169.254", "169.254.170.2", "metadata.google.internal", "metadata/identity")
"""Where a client that was given no credentials asks the machine of a cloud for some."""
CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (S3), GOOGLE_APPLICATION_CREDENTIALS (GCS) or "
    "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (Azure)"
)
RETRIES, RETRY = 8, timedelta(seconds=60)
"""How often, and for how long, the client repeats a request that failed."""


@lru_cache(maxsize=16)
def client(bucket: str, pid: int) -> Any:  # noqa: ARG001 - a client does not survive a fork
    """This process's client of `bucket`, a URL, configured by the environment. Errors: `BaseError`
    of obstore where the environment lacks something."""
    plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    placed = (
        not bucket.startswith("s3")
        or "AWS_REGION" in os.environ
        or "AWS_DEFAULT_REGION" in os.environ
    )
    options: dict[str, Any] = {
        "client_options": {"allow_http": True} if plain else None,
        "retry_config": {"max_retries": RETRIES, "retry_timeout": RETRY},
        **({} if placed else {"config": {"region": "us-east-1"}}),
    }
    return from_url(bucket, **options)


@contextmanager
def as_os_errors(bucket: str, path: str) -> Iterator[None]:
    """Turn the client's errors into the `OSError`s that a disk would raise for `path`."""
    try:
        yield
    except FileNotFoundError as error:
        if NO_BUCKET in str(error):
            raise no_bucket(bucket, path) from error
        raise FileNotFoundError(errno.ENOENT, "there is no such object", path) from error
    except (AlreadyExistsError, PreconditionError) as error:
        raise FileExistsError(
            errno.EEXIST, "the object is another one than before", path
        ) from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise PermissionError(
            errno.EACCES, "the object storage denies access with these credentials", path
        ) from error
    except BaseError as error:
        if NO_BUCKET in str(error):
            raise no_bucket(bucket, path) from error
        if any(place in str(error) for place in METADATA):
            raise PermissionError(
                errno.EACCES, f"there are no credentials for {bucket}: {CREDENTIALS}", path
            ) from error
        raise OSError(errno.EIO, first_sentence(str(error)), path) from error


def no_bucket(bucket: str, path: str) -> OSError:
    """The error for a bucket that does not exist."""
    return OSError(errno.EIO, f"there is no bucket {bucket}", path)


def keeps_versions(bucket: str, path: str) -> OSError:
    """The error for a bucket that keeps the old versions of its objects."""
    return OSError(
        errno.EPERM,
        f"the bucket {bucket} keeps old versions of its objects, so that what is erased could be "
        "read on: use one without versioning",
        path,
    )


def first_sentence(text: str) -> str:
    """The first sentence of a client's error, without the server's page and the client's state."""
    return text.partition("\n")[0].partition(": <")[0].strip() or "the object storage failed"
