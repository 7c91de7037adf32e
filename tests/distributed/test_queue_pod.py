"""The queue as its pod runs it (k8s/base/queue.yaml), from a training to a certificate: workspace
in a bucket, requests in PostgreSQL.

A head with two CPUs, its job server and a token; the pod's raylet, which has no CPU, and `serve` as
a driver through it, both by the manifest's own command lines and variables. They are processes of
one machine, and no containers.
"""

import os
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from lmeraser_ray.config.options import to_yaml
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.certificate.statement import Code
from lmeraser_ray.erasure.certificate.verifier import read_certificate
from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.paths import Location, location
from tests.support import head as heads
from tests.support import redis as conftest_redis
from tests.support.head import ROOT, Head, free_port, told
from tests.support.law import held, never_seen
from tests.support.pod import Pod, running, spec_of
from tests.support.world import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MANIFEST = ROOT / "k8s" / "base" / "queue.yaml"
LOGS = "session_2*/logs"
"""Below the folder of Ray's files: of a session's date, since `session_latest` is a link that leads
out of a pod's folder."""
LONGER: dict[str, dict[str, object]] = {"learner": {"epochs": 60}}
"""So that a request can be seen in training."""


def trained(folder: Path) -> Counter[str]:
    """The constituents that the workers of a node have trained, by their logs. folder: where Ray's
    files of this node are."""
    text = "".join(path.read_text() for path in folder.glob(f"{LOGS}/worker-*.err"))
    return Counter(re.findall(r"event=train-ended shard=(\w+)", text))


def states(root: Location) -> dict[str, State]:
    """Where each request is, by its id."""
    session = Session(root)
    with session.database() as database:
        return {
            request.id: request.state
            for request in RequestRepository(database, session.names()).list()
        }


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    """The signing keys where somebody keeps a copy."""
    made = KeyFolder(tmp_path / "copy")
    made.init()
    return made


@contextmanager
def pod_of(head: Head, workspace: str, keys: KeyFolder, place: Path) -> Iterator[Pod]:
    """The queue's pod, in which nothing runs yet, as a node of a head's cluster to be."""
    agent = free_port()
    (place / "secret").mkdir(parents=True)
    for path in (
        keys.private_path,
        *keys.path.glob("public/*.pem"),
    ):  # as `kubectl create secret --from-file` lays them
        (place / "secret" / path.name).write_bytes(path.read_bytes())
    given = {
        "configMapRef/lmeraser": {
            "WORKSPACE": workspace,
            "OPTIONS": "",
            "RAY_USAGE_STATS_ENABLED": "0",
        },
        "secretRef/lmeraser-storage": {
            name: value for name, value in os.environ.items() if name.startswith("AWS_")
        },
        "secretRef/lmeraser-database": {"LMERASER_DATABASE": head.settings["LMERASER_DATABASE"]},
        "secretRef/lmeraser-names": {},  # the workspace has its own
        "secretKeyRef/lmeraser": {
            "auth_token": Path(head.settings["RAY_AUTH_TOKEN_PATH"]).read_text()
        },
    }
    own = (
        f"--metrics-export-port={free_port()} --dashboard-agent-listen-port={agent} "
        "--node-ip-address=127.0.0.1"
    )
    instead = {
        "lmeraser-head-svc:6379": head.gcs,
        "--metrics-export-port=8080 ": f"{own} ",
        "port: 52365": f"port: {agent}",
    }
    instead |= {f"/{name}": str(place / name) for name in ("tmp", "keys", "secret")}
    with running(spec_of(MANIFEST, instead), given, place, hidden=head.place / "ray") as made:
        yield made


@pytest.fixture
def pod(head: Head, s3: str, keys: KeyFolder, tmp_path: Path) -> Iterator[Pod]:
    """The queue's pod on the head of this folder's tests."""
    with pod_of(head, f"{s3}/pod/workspace", keys, tmp_path / "pod") as made:
        yield made


def up(pod: Pod) -> bool:
    """What Kubernetes asks the raylet before it starts the next container."""
    probe = pod.container("raylet")["startupProbe"]["httpGet"]
    with (
        suppress(OSError),
        urllib.request.urlopen(
            f"http://127.0.0.1:{probe['port']}{probe['path']}", timeout=5
        ) as answer,
    ):
        return bool(answer.status == 200)
    return False


def ready(pod: Pod) -> bool:
    """What Kubernetes asks before it calls the queue's container ready."""
    return (
        pod.run("serve", *pod.container("serve")["readinessProbe"]["exec"]["command"]).returncode
        == 0
    )


def train(head: Head, world: World, there: Location) -> None:
    """Train a workspace, as a job."""
    config = world.folder / "config.yaml"
    config.write_text(to_yaml(world.config(execution={"engine": "ray"}, **LONGER)))
    done = head.submit("jobs/train.py", "--workspace", str(there), "--config", str(config))
    assert done.returncode == 0, told(done)


def start(pod: Pod) -> None:
    """Start the pod's containers in their order, until the queue is ready."""
    assert pod.start("keys").wait() == 0, pod.printed("keys")
    pod.start("raylet")
    pod.until("raylet", lambda: up(pod))
    pod.start("serve")
    pod.until("serve", lambda: ready(pod))


def lm(pod: Pod, verb: str, words: str = "") -> str:
    """A command in the queue's container, as docs/guides/kubernetes.md types them. Returns what it
    prints."""
    done = pod.run("serve", "sh", "-c", f'lmeraser {verb} --workspace "$WORKSPACE" {words}')
    assert done.returncode == 0, told(done)
    return done.stdout


def verified(certificate: Path, key: Path) -> int:
    """The exit code of `lmeraser verify` on a machine without a network, a workspace, settings or
    Ray."""
    words = [
        "unshare",
        "--net",
        sys.executable,
        "-m",
        "lmeraser_ray",
        "verify",
        "--certificate",
        certificate,
        "--public_key",
        key,
    ]
    return subprocess.run(
        words,
        env={"PYTHONPATH": str(ROOT)},
        cwd=certificate.parent,
        capture_output=True,
        check=False,
    ).returncode


def test_from_a_training_to_a_certificate(
    head: Head, pod: Pod, keys: KeyFolder, world: World, object_storage: str
) -> None:
    """A job trains; one request comes to its certificate; a sampled record's is in work when the
    queue's container is told to end."""
    there = location(f"{object_storage}/pod/workspace")
    certificate = pod.place / "tmp" / "erasure.json"
    one, sampled = world.ids[20], world.ids[9]
    train(head, world, there)
    before = trained(head.place / "ray")
    start(pod)
    assert list(pod.place.glob(f"tmp/ray/{LOGS}/python-core-driver-*")), (
        "serve is a driver through the pod's raylet"
    )

    raylet = psutil.Process(pod.started["raylet"].pid)
    assert actors(raylet.children(recursive=True)), "no other node needs the database"
    assert pod.run("serve", "touch", str(ROOT / "mine")).returncode, "files of the image are fixed"

    first = lm(pod, "submit", f"--records {one} --key letter-118").split()[0]
    lm(pod, "wait", first)
    lm(pod, "certificate", f"{first} --output {certificate}")
    said = read_certificate(certificate.read_bytes(), keys.public_keys())
    assert verified(certificate, keys.public_path(said.keyid)) == 0
    assert verified(certificate, *head.place.glob("keys/public/*.pem")) == 4, (
        "what jobs sign with is another key"
    )
    statement = said.statement
    assert statement.code.sha256 == Code.running().sha256
    assert (
        trained(head.place / "ray") - before == Counter(statement.constituents.rebuilt) != Counter()
    )

    second = lm(pod, "submit", f"--records {sampled}").split()[0]
    pod.until("serve", lambda: states(there)[second] is State.TRAINING)
    assert pod.terminate("serve") == 0, pod.printed("serve")
    assert "requests: 2 certified\n" in pod.printed("serve")
    assert states(there) == {first: State.CERTIFIED, second: State.CERTIFIED}
    lm(pod, "audit")
    assert held(there) == held(never_seen(world, [one, sampled], **LONGER))
    assert not trained(pod.place / "tmp" / "ray"), "a raylet without CPUs trains nothing"


def epoch(root: Location) -> int:
    """How often a queue has begun on a workspace."""
    with Session(root).database() as database:
        return Lease.look(database).epoch


def actors(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those of the processes that are the queue's actor."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found += [process] if "QueueActor" in "".join(process.cmdline()) else []
    return found


def test_a_head_that_comes_back(
    world: World, keys: KeyFolder, postgresql: str, object_storage: str, tmp_path: Path
) -> None:
    """kill -9 of all of a head's processes in the middle of a retrain. With Redis the next head is
    the same cluster's: its nodes, the queue's actor and `serve` live on, and what Redis was told
    names no record."""
    there, (one, sampled) = (
        location(f"{object_storage}/returns/workspace"),
        (world.ids[20], world.ids[9]),
    )
    (tmp_path / "redis").mkdir()
    with (
        conftest_redis.started(tmp_path / "redis", free_port()) as redis,
        heads.started(postgresql, cpus=0, redis=redis) as head,
        heads.joined(head, tmp_path / "worker.log", cpus=2) as worker,
        pod_of(head, str(there), keys, tmp_path / "pod") as pod,
    ):
        train(head, world, there)
        start(pod)
        raylet = psutil.Process(pod.started["raylet"].pid)
        kept = actors(raylet.children(recursive=True))
        assert kept, (
            "the actor lives where the manifest's resource is, and so the database's secret"
        )
        first = lm(pod, "submit", f"--records {sampled}").split()[0]
        pod.until("serve", lambda: states(there)[first] is State.TRAINING)
        before = epoch(there)
        head.node.die()
        second = lm(pod, "submit", f"--records {one}").split()[0]
        head.node.start()
        head.node.wait_for(heads.WHERE)
        lm(pod, "wait", first)
        lm(pod, "wait", second)
        lm(pod, "audit")
        assert epoch(there) == before
        assert all(actor.is_running() for actor in kept)
        assert worker.process and worker.process.poll() is None
        assert pod.terminate("serve") == 0, pod.printed("serve")
    assert held(there) == held(never_seen(world, [one, sampled], **LONGER))
    written = b"".join(path.read_bytes() for path in redis.folder.iterdir())
    assert b"QueueActor" in written
    assert [name for name in world.ids if name.encode() in written] == []
