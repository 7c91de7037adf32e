"""Where a workspace may be: which URLs are places, how their paths are written, and what is said of
a bucket or a server that is not there."""

from pathlib import Path

import pytest

from lmeraser_ray.errors import ConfigError, ExecutionError
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.files import digest_of, disk_errors
from lmeraser_ray.storage.object_storage.path import ObjectPath
from lmeraser_ray.storage.paths import inside, location, name_below, on_disk


@pytest.mark.parametrize(
    "text",
    [
        "s3://",
        "s3:///key",
        "s3://bucket",
        "s3://bucket/a//b",
        "s3://bucket/../x",
        "http://host/x",
        "memory://x/y",
    ],
)
def test_a_url_that_is_no_place(text: str) -> None:
    with pytest.raises(ConfigError, match="is no place for a workspace"):
        location(text)


def test_places() -> None:
    found = location("s3://bucket/a/b/")
    assert str(found) == str(location("s3://bucket/a/b")) == "s3://bucket/a/b"
    assert (found.name, str(found.parent), str(found.parent.parent)) == (
        "b",
        "s3://bucket/a",
        "s3://bucket",
    )
    assert [str(folder) for folder in (found / "c").parents] == [
        "s3://bucket/a/b",
        "s3://bucket/a",
        "s3://bucket",
    ]
    assert name_below(found / "c" / "d", found) == "c/d"
    assert not inside(Path("s3:/bucket/a/b/c"), found)
    assert location("a/b") == Path("a/b")
    with pytest.raises(ConfigError, match="expected a folder of this machine"):
        on_disk("s3://bucket/a")


def test_a_bucket_that_is_not_there(s3: str) -> None:
    with pytest.raises(ExecutionError, match="there is no bucket s3://no-such-bucket"):
        WorkspaceFolder(location("s3://no-such-bucket/workspace")).create()


def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, and not the server's page; whoever asks for a digest is not told that the bytes
    are damaged."""
    from lmeraser_ray.storage.object_storage import client as object_client

    for name, value in {
        "ENDPOINT_URL": "http://127.0.0.1:9",
        "ACCESS_KEY_ID": "x",
        "SECRET_ACCESS_KEY": "x",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setattr(object_client, "RETRIES", 1)
    path = ObjectPath("s3://nobody-answers", "workspace/file")
    with pytest.raises(ExecutionError) as raised:
        digest_of(path)
    assert "\n" not in str(raised.value) and "run the same command again" in str(raised.value)
    with pytest.raises(ExecutionError), disk_errors(path):
        path.read_bytes()
