"""A pod as processes of this machine: the command lines and variables of its manifest, in a process
and a mount namespace of their own.

    manifest ── containers ──► nsenter ──► one `unshare`

All containers share its namespaces, as in a pod with `shareProcessNamespace`.

What a cluster would give (names of services, ports of its own, volumes, ConfigMaps, Secrets) is
given by the test; whatever it gives in the place of something must be in the manifest. Users,
images and networks are those of the test: this is no container.
"""

import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.support.children import wait_until
from tests.support.head import PATH, ROOT

PATIENCE = 300.0
PAUSE = (
    'mount --bind "$1" "$1" && mount --bind "$1/tmp/ray" "$2" && mount -o remount,bind,ro / '
    "&& echo up && exec sleep infinity"
)
"""All files are read only but those of the pod's volumes, as its containers have them
(readOnlyRootFilesystem)."""


@dataclass
class Pod:
    """A pod that runs. spec: of its manifest; given: what its ConfigMaps and Secrets hold, as
    `configMapRef/NAME`; place: where its files are; pause: its first process."""

    spec: Mapping[str, Any]
    given: Mapping[str, Mapping[str, str]]
    place: Path
    pause: int
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def container(self, name: str) -> Mapping[str, Any]:
        """A container, or one that runs first."""
        [found] = [
            one
            for one in [*self.spec["initContainers"], *self.spec["containers"]]
            if one["name"] == name
        ]
        return dict(found)

    def environment(self, name: str) -> dict[str, str]:
        """The variables of a container, and nothing else but what an image has."""
        found = {"PATH": PATH, "PYTHONPATH": str(ROOT), "TMPDIR": str(self.place / "tmp")}
        for source in self.container(name).get("envFrom", []):
            [(kind, reference)] = source.items()
            found.update(self.given[f"{kind}/{reference['name']}"])
        for variable in self.container(name).get("env", []):
            for kind, reference in variable.get("valueFrom", {}).items():
                found[variable["name"]] = self.given[f"{kind}/{reference['name']}"][
                    reference["key"]
                ]
            if "value" in variable:
                found[variable["name"]] = variable["value"]
        return found

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Start a container. What it prints is in `printed`."""
        words = self.within(*self.container(name)["command"], *self.container(name)["args"])
        with (self.place / f"{name}.log").open("wb") as log:
            self.started[name] = subprocess.Popen(
                words, env=self.environment(name), cwd=ROOT, stdout=log, stderr=log
            )
        return self.started[name]

    def within(self, *words: str) -> list[str]:
        """A command line, in the pod."""
        return ["nsenter", "--target", str(self.pause), "--pid", "--mount", "--", *words]

    def run(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """`kubectl exec -c NAME -- WORDS`."""
        words, environment = tuple(self.within(*words)), self.environment(name)
        return subprocess.run(
            words,
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def terminate(self, name: str) -> int:
        """SIGTERM to the first process of a container, as Kubernetes sends it. Returns the exit
        code, when it has ended."""
        [first] = psutil.Process(self.started[name].pid).children()
        first.send_signal(signal.SIGTERM)
        return self.started[name].wait(PATIENCE)

    def printed(self, name: str) -> str:
        """What a container has printed."""
        return (self.place / f"{name}.log").read_text()

    def until(self, name: str, condition: Callable[[], object]) -> None:
        """Wait for something that a container does; not for one that has ended."""
        wait_until(lambda: condition() or self.started[name].poll() is not None, PATIENCE)
        assert self.started[name].poll() is None, self.printed(name)


def spec_of(manifest: Path, instead: Mapping[str, str]) -> Mapping[str, Any]:
    """The pod of a Deployment. instead: what stands in the place of parts of the manifest, each of
    which must be there."""
    text = manifest.read_text()
    assert all(part in text for part in instead)
    replaced = re.sub(
        "|".join(re.escape(part) for part in instead), lambda part: instead[part[0]], text
    )
    return dict(yaml.safe_load(replaced)["spec"]["template"]["spec"])


@contextmanager
def running(
    spec: Mapping[str, Any], given: Mapping[str, Mapping[str, str]], place: Path, hidden: Path
) -> Iterator[Pod]:
    """A pod in which nothing runs yet. hidden: a folder that it does not see, but one of its own,
    `place/tmp/ray`. All its processes end with it. Skips where that is not allowed."""
    (place / "tmp" / "ray").mkdir(parents=True)
    words = [
        "unshare",
        "--pid",
        "--mount",
        "--fork",
        "--mount-proc",
        "--kill-child",
        "sh",
        "-c",
        PAUSE,
        "pause",
        place,
        hidden,
    ]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as made:
        try:
            said = made.stdout.readline() if made.stdout else ""
            if said != "up\n":
                pytest.skip(f"needs root that may make namespaces: {said}")
            [pause] = psutil.Process(made.pid).children()
            yield Pod(spec, given, place, pause.pid)
        finally:
            made.kill()
