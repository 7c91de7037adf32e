"""Our rules for secrets: which container has which, and that none is in a command line."""

import re
from collections.abc import Iterator, Sequence

from k8s.documents import Document, Finding, Pod, clusters, pods, title
from k8s.rules import Rule, brought_secrets, referred

JOB_HEADS = tuple(f"RayJob/{name} head" for name in ("train", "sweep", "verify"))
QUEUE = ("Deployment/queue raylet", "Deployment/queue serve")
HOLDERS: dict[str, tuple[str, ...]] = {
    "lmeraser": QUEUE,  # Ray's token; the operator gives it to its own pods
    "lmeraser-keys": ("Deployment/queue keys",),
    "lmeraser-names": (*QUEUE, "Deployment/desk desk", *JOB_HEADS),
    "lmeraser-database": (*QUEUE, "RayJob/train head"),
    "lmeraser-database-reader": ("RayJob/sweep head", "RayJob/verify head"),
    "lmeraser-database-submitter": ("Deployment/desk desk",),
    "lmeraser-postgres": ("StatefulSet/postgres postgres",),
    "lmeraser-redis": ("StatefulSet/redis redis",),
    "lmeraser-storage": (
        *QUEUE,
        "Deployment/desk desk",
        "StatefulSet/storage account",
        "RayCluster/lmeraser worker",
        *JOB_HEADS,
        *(head.replace("head", "worker") for head in JOB_HEADS),
    ),
    "lmeraser-storage-root": ("StatefulSet/storage gateway",),
}
"""The containers that may have a secret, by their document and name; of Ray's pods it is head or
worker. A worker has the bucket's key, since it reads pictures and writes artifacts, and no
other."""
BUILT_IN = re.compile(r"\s*(printf|echo|export|test|\[)\s")
"""Commands of the shell itself, whose words no list of processes shows."""
PASSWORDS = re.compile(r"passw|secret|token", re.IGNORECASE)


def holder(pod: Pod, name: str) -> str:
    """How `HOLDERS` calls a container."""
    if pod.ray:
        name = "head" if "headGroupSpec" in pod.path else "worker"
    return f"{title(pod.document)} {name}"


def secrets_of(pod: Pod, container: Document) -> Iterator[str]:
    """The secrets that a container has in its environment or its volumes."""
    mounted = {mount["name"] for mount in container.get("volumeMounts", ())}
    volumes = [one for one in pod.spec.get("volumes") or () if one["name"] in mounted]
    for _, what, name, _ in (*referred(container, ""), *referred(volumes, "")):
        if what == "secret":
            yield name


def secrets_apart(documents: Sequence[Document]) -> Iterator[Finding]:
    """A secret is in the containers that need it, and in no others."""
    for pod in pods(documents):
        for field, container in pod.containers():
            where = holder(pod, container["name"])
            for name in sorted(set(secrets_of(pod, container))):
                if where not in HOLDERS.get(name, ()):
                    yield pod.finding(
                        field,
                        f"has the secret {name}, which is for "
                        f"{', '.join(HOLDERS.get(name, ['nobody']))}.",
                    )


def no_arguments(documents: Sequence[Document]) -> Iterator[Finding]:
    """No secret is an argument of a process: every user of a machine can read those. It goes by a
    variable or a file; a shell's own commands have no process."""
    keys = brought_secrets()
    for pod in pods(documents):
        for field, container in pod.containers():
            names = {
                entry["name"]
                for entry in container.get("env", ())
                if "secretKeyRef" in entry.get("valueFrom", {})
            }
            for source in container.get("envFrom", ()):
                names |= keys.get(source.get("secretRef", {}).get("name"), set())
            for text in words_of(container):
                for name in sorted(names & arguments(text)):
                    yield pod.finding(
                        field, f"gives {name} as an argument, which every process can read."
                    )
    for document, path, spec in clusters(documents):
        groups = [spec.get("headGroupSpec", {}), *spec.get("workerGroupSpecs", ())]
        for name in (name for group in groups for name in group.get("rayStartParams", {})):
            if PASSWORDS.search(name):
                yield Finding(
                    title(document), f"{path}.rayStartParams.{name}", "a secret is no argument."
                )


def words_of(container: Document) -> Iterator[str]:
    """Every word that a container's processes are given, hooks and probes included."""
    yield from (*container.get("command", ()), *container.get("args", ()))
    hooks = container.get("lifecycle", {}).values()
    probes = (value for name, value in container.items() if name.endswith("Probe"))
    for action in (*hooks, *probes):
        yield from action.get("exec", {}).get("command", ())


def arguments(text: str) -> set[str]:
    """The variables that a word puts into the arguments of a process: Kubernetes' `$(NAME)`
    anywhere, a shell's `$NAME` in what is no command of its own."""
    found = set(re.findall(r"\$\((\w+)\)", text))
    for command in re.split(r"[;|&]|(?<!\\)\n", text):
        if not BUILT_IN.match(command):
            found |= set(re.findall(r"\$\{?(\w+)", command))
    return found


SECRETS: tuple[Rule, ...] = (secrets_apart, no_arguments)
