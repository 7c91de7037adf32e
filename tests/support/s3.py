"""A real S3 server for tests, in this process and on the loopback: moto's. It keeps conditions of
writes, as S3 does; two writes at once are one after the other, since moto looks first and writes
then."""

import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

BUCKET = "lmeraser-tests"


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The URL of a bucket, with the environment of a client that may use it."""
    import boto3
    from moto.s3.responses import S3Response
    from moto.server import ThreadedMotoServer

    put, alone = S3Response.put_object, threading.Lock()

    def put_alone(self: S3Response) -> Any:
        with alone:
            return put(self)

    S3Response.put_object = put_alone  # type: ignore[method-assign]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield f"s3://{BUCKET}"
    finally:
        S3Response.put_object = put  # type: ignore[method-assign]
        server.stop()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture
def object_storage(s3: str, postgresql: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket, and a PostgreSQL server for the requests of the workspaces in it, by the
    environment."""
    monkeypatch.setenv("LMERASER_DATABASE", postgresql)
    return s3
