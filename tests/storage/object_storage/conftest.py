"""New places on real servers: a prefix of a bucket of S3, Google's or Azure's protocol, or a folder
of the disk to compare them with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lmeraser_ray.storage.object_storage.path import ObjectPath
from lmeraser_ray.storage.paths import Location, location
from tests.support.cloud import Cloud, cloud


@pytest.fixture
def place(s3: str, request: pytest.FixtureRequest) -> ObjectPath:
    """A new prefix of a bucket."""
    found = location(f"{s3}/{request.node.name.replace('[', '-').rstrip(']')}")
    assert isinstance(found, ObjectPath)
    return found


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A server of `gs://` and `az://` buckets."""
    with cloud() as (server, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield server


def within(request: pytest.FixtureRequest, scheme: str) -> ObjectPath:
    """A new prefix of a bucket of each provider."""
    if scheme == "s3":
        place: ObjectPath = request.getfixturevalue("place")
        return place
    return ObjectPath(f"{scheme}://{request.getfixturevalue('provider').bucket}", "workspace")


@pytest.fixture(params=["s3", "gs", "az"])
def bucket(request: pytest.FixtureRequest) -> ObjectPath:
    """A new prefix of a bucket, of each provider."""
    return within(request, request.param)


@pytest.fixture(params=["disk", "s3", "gs", "az"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """A new folder, on each kind of storage."""
    disk = request.param == "disk"
    found: Location = tmp_path / "folder" if disk else within(request, request.param)
    found.mkdir()
    return found
