"""A bucket that keeps old versions of its objects is refused, since what is erased could be read
there."""

import pytest

from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.object_storage.path import MARKER, ObjectPath
from lmeraser_ray.storage.paths import location
from lmeraser_ray.storage.store import Store
from tests.support.cloud import Cloud


def test_a_bucket_that_keeps_versions_is_refused(s3: str) -> None:
    import boto3

    boto3.client("s3").create_bucket(Bucket="versioned")
    boto3.client("s3").put_bucket_versioning(
        Bucket="versioned", VersioningConfiguration={"Status": "Enabled"}
    )
    with pytest.raises(
        ExecutionError,
        match="keeps old versions of its objects, so that what is erased could be read on",
    ):
        WorkspaceFolder(location("s3://versioned/workspace")).create()


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_a_bucket_of_google_or_azure_that_keeps_versions_is_refused(
    provider: Cloud, scheme: str
) -> None:
    """Google answers each write with a generation, versioned or not; so what counts is whether an
    overwritten object can still be read."""
    place, provider.versioned = ObjectPath(f"{scheme}://{provider.bucket}", "workspace"), True
    with pytest.raises(ExecutionError, match=f"bucket {place.bucket} keeps old versions"):
        WorkspaceFolder(place).create()
    assert set(provider.objects) == {f"{provider.bucket}/workspace/{MARKER}"}
    provider.versioned = False
    WorkspaceFolder(place).create()
    provider.versioned = True
    with pytest.raises(ExecutionError, match="keeps old versions"):
        Store(place / "objects", "the next command").create()


def test_looking_for_old_versions_brings_no_folder_back(
    provider: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another command removes the folder between the two writes of its marker."""
    write = ObjectPath.write

    def and_gone(path: ObjectPath, data: bytes, mode: object = "overwrite") -> object:
        made = write(path, data, mode)
        if mode == "create":
            provider.objects.clear()
        return made

    monkeypatch.setattr(ObjectPath, "write", and_gone)
    ObjectPath(f"gs://{provider.bucket}", "workspace").mkdir()
    assert not provider.objects
