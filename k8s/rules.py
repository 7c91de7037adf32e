"""Our own rules, which no schema can express. Each yields what it finds; `RULES` is all of them.

Safety: nobody is root, nothing is unbounded, keys are the queue's alone (other secrets:
`secret_rules.py`), every cluster asks for a token. Agreement: what is referred to is there or made
by a command of docs/guides/kubernetes.md; commands, fields, variables, versions are those of the
code.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from packaging.requirements import Requirement

from k8s.documents import (
    Document,
    Finding,
    Pod,
    clusters,
    commands,
    of_kind,
    pods,
    settings,
    texts,
    title,
)
from lmeraser_ray.cli.verbs import VERBS
from lmeraser_ray.cli.words import parse
from lmeraser_ray.errors import LmeraserError

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guides" / "kubernetes.md"
IMAGE, IMAGE_HOME = "lmeraser-ray", "/home/ray/lmeraser/"
OTHERS = re.compile(r"(AWS|PG|POSTGRES|ROOT|ADMIN|RAY|REDISCLI)[A-Z]*_?\w*|PGDATA|HOME|USER")
"""Variables that libpq, the S3 client, the images of the services and Ray itself read."""


PARTS = {"postgres": 2}
"""How many numbers a version has that stays: three, where nothing else is said. A tag with fewer
is moved to each new version."""
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}")


def locked(documents: Sequence[Document]) -> Iterator[Finding]:
    """Nobody is root, no container can become it, and none changes its image's files: what it
    writes is in volumes of a size."""
    for pod in pods(documents):
        context = pod.spec.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            yield pod.finding(
                "spec.securityContext", "expected runAsNonRoot: true and a runAsUser that is not 0."
            )
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield pod.finding(
                "spec.securityContext.seccompProfile", "expected type: RuntimeDefault."
            )
        for field, container in pod.containers():
            own = container.get("securityContext", {})
            if own.get("allowPrivilegeEscalation") is not False or own.get("capabilities", {}).get(
                "drop"
            ) != ["ALL"]:
                yield pod.finding(
                    f"{field}.securityContext",
                    "expected allowPrivilegeEscalation: false and capabilities that drop ALL.",
                )
            if own.get("readOnlyRootFilesystem") is not True:
                yield pod.finding(
                    f"{field}.securityContext", "expected readOnlyRootFilesystem: true."
                )
        for at, volume in enumerate(pod.spec.get("volumes") or ()):
            if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
                yield pod.finding(f"spec.volumes[{at}].emptyDir", "has no sizeLimit: give one.")


def bounded(documents: Sequence[Document]) -> Iterator[Finding]:
    """Every container has limits; what is not Ray's says whether it is ready (KubeRay adds Ray's
    own probes)."""
    for pod in pods(documents):
        for field, container in pod.containers():
            limits = container.get("resources", {}).get("limits", {})
            for what in ("cpu", "memory"):
                if what not in limits:
                    yield pod.finding(f"{field}.resources.limits", f"has no {what}: give one.")
        served = pod.document["kind"] in ("Deployment", "StatefulSet")
        for at, container in enumerate(pod.spec.get("containers", ()) if served else ()):
            if "readinessProbe" not in container:
                yield pod.finding(
                    f"spec.containers[{at}].readinessProbe",
                    "is missing: nobody would know whether it works.",
                )


def images(documents: Sequence[Document]) -> Iterator[Finding]:
    """Every image is a version that stays, by its digest or by a full version number; ours has the
    version of the package."""
    version = project()["version"]
    for pod, field, image in named_images(documents):
        name, _, tag = DIGEST.sub("", image).rpartition(":")
        short = name.rpartition("/")[2]
        numbers = re.fullmatch(r"v?(\d+(?:\.\d+)*)", tag)
        stays = numbers and numbers[1].count(".") + 1 >= PARTS.get(short, 3)
        if short == IMAGE:
            if tag not in (version, f"{version}-gpu"):
                yield pod.finding(field, f"has tag {tag}, pyproject.toml has version {version}.")
        elif not stays and not DIGEST.search(image):
            yield pod.finding(field, f"is {image!r}, expected a tag that stays what it is.")


def by_tag(documents: Sequence[Document]) -> list[str]:
    """The images of others that are named by tag, which their registry could move."""
    found = {image for _, _, image in named_images(documents) if not DIGEST.search(image)}
    return sorted(image for image in found if IMAGE not in image)


def named_images(documents: Sequence[Document]) -> Iterator[tuple[Pod, str, str]]:
    """Every image: the pod and the field that name it."""
    for pod in pods(documents):
        for field, container in pod.containers():
            yield pod, f"{field}.image", str(container.get("image", ""))


def references(documents: Sequence[Document]) -> Iterator[Finding]:
    """Every secret, ConfigMap and claim that is named is there; secrets are made by the page's
    commands, Ray's token by the operator."""
    brought = brought_secrets() | {
        document["metadata"]["name"]: {"auth_token"}
        for document in of_kind(documents, "RayCluster")
    }
    maps = {
        document["metadata"]["name"]: set(document.get("data", {}))
        for document in of_kind(documents, "ConfigMap")
    }
    claims = {
        document["metadata"]["name"]: set[str]()
        for document in of_kind(documents, "PersistentVolumeClaim")
    }
    known = {"secret": brought, "ConfigMap": maps, "claim": claims}
    for document in documents:
        for field, what, name, key in referred(document, ""):
            if name not in known[what]:
                where = (
                    f"nor made by a command of {PAGE.name}"
                    if what == "secret"
                    else "in this overlay"
                )
                yield Finding(title(document), field, f"the {what} {name} is not there {where}.")
            elif key is not None and key not in known[what][name]:
                yield Finding(title(document), field, f"the {what} {name} has no key {key}.")


def referred(value: object, field: str) -> Iterator[tuple[str, str, str, str | None]]:
    """Every reference below a value: its field, what kind of thing, its name, the key of it that is
    wanted."""
    if isinstance(value, list):
        for at, part in enumerate(value):
            yield from referred(part, f"{field}[{at}]")
    if not isinstance(value, dict):
        return
    for name, part in value.items():
        below = f"{field}.{name}".lstrip(".")
        if name in ("secretKeyRef", "secretRef"):
            yield below, "secret", part["name"], part.get("key")
        elif name == "secret" and "secretName" in part:
            yield below, "secret", part["secretName"], None
        elif name in ("configMapKeyRef", "configMapRef", "configMap"):
            yield below, "ConfigMap", part["name"], part.get("key")
        elif name == "persistentVolumeClaim":
            yield below, "claim", part["claimName"], None
        else:
            yield from referred(part, below)


def brought_secrets() -> dict[str, set[str]]:
    """The secrets that the page's commands make, with their keys; those made from files are not
    told apart by key."""
    found: dict[str, set[str]] = {}
    for name, rest in re.findall(
        r"create secret generic ([\w-]+)((?:[^\n]*\\\n)*[^\n]*)", PAGE.read_text()
    ):
        found[name] = set(re.findall(r"--from-literal=(\w+)=", rest))
    return found


def addresses(documents: Sequence[Document]) -> Iterator[Finding]:
    """Every host:port of the namespace is a service that is there, and every service finds a
    pod."""
    services = {document["metadata"]["name"] for document in of_kind(documents, "Service")}
    services |= {
        f"{document['metadata']['name']}-head-svc" for document in of_kind(documents, "RayCluster")
    }
    for document, field, text in texts(documents):
        for host in re.findall(r"--address=([\w-]+):\d+", text):
            if host not in services:
                yield Finding(
                    title(document),
                    field,
                    f"names {host}, which is no service: {', '.join(sorted(services))}.",
                )
    for document, path, spec in clusters(documents):
        host = str(
            spec.get("gcsFaultToleranceOptions", {}).get("redisAddress", "redis:")
        ).rpartition(":")[0]
        if host not in services:
            yield Finding(
                title(document),
                f"{path}.gcsFaultToleranceOptions.redisAddress",
                f"{host} is no service.",
            )
    for document in of_kind(documents, "Service"):
        wanted = document["spec"]["selector"].items()
        if not any(wanted <= pod.labels.items() for pod in pods(documents)):
            yield Finding(title(document), "spec.selector", "no pod has these labels.")


def variables(documents: Sequence[Document]) -> Iterator[Finding]:
    """Every variable that is set is read: by our code, by a command line here, or by what we
    use."""
    source = "\n".join(path.read_text() for path in sorted((ROOT / "lmeraser_ray").rglob("*.py")))
    used = "\n".join(text for _, _, text in texts(documents))
    scripts = (document.get("data", {}) for document in of_kind(documents, "ConfigMap"))
    used += re.sub(r"\\getenv \w+ ", "$", "\n".join(one.get("roles.sql", "") for one in scripts))
    for pod in pods(documents):
        for field, container in pod.containers():
            for at, entry in enumerate(container.get("env", ())):
                name = entry["name"]
                ours = not OTHERS.fullmatch(name)
                if ours and f'"{name}"' not in source and not re.search(rf"\$\(?{name}\b", used):
                    yield pod.finding(f"{field}.env[{at}]", f"{name} is read by nobody.")
    for name in settings(documents):
        if not OTHERS.fullmatch(name) and not re.search(rf"\$\(?{name}\b", used):
            yield Finding("ConfigMap/lmeraser", f"data.{name}", "is used by no command.")


def understood(documents: Sequence[Document]) -> Iterator[Finding]:
    """Every command line of ours is one: verb, options, fields; what it names in the image is in
    the repository."""
    for document, field, (verb, *words) in commands(documents):
        try:
            parse(VERBS[verb], words)
        except KeyError:
            yield Finding(
                title(document), field, f"{verb!r} is no verb of lmeraser ({', '.join(VERBS)})."
            )
        except LmeraserError as error:
            yield Finding(title(document), field, str(error))
        for word in words:
            if word.startswith(IMAGE_HOME) and not (ROOT / word.removeprefix(IMAGE_HOME)).exists():
                yield Finding(title(document), field, f"{word} is not in the image.")


def keys_apart(documents: Sequence[Document]) -> Iterator[Finding]:
    """The signing keys are in the queue's pod, in the containers `keys` and `serve`, whose user no
    other container has: containers that share processes can read each other's files through /proc
    where their user is the same."""
    for pod in pods(documents):
        holders = {
            volume["name"]
            for volume in pod.spec.get("volumes", ())
            if "lmeraser-keys" in str(volume) or volume["name"] == "keys"
        }
        users: dict[bool, set[int]] = {True: set(), False: set()}
        for field, container in pod.containers():
            mounted = bool({mount["name"] for mount in container.get("volumeMounts", ())} & holders)
            own = container.get("securityContext", {}).get(
                "runAsUser", pod.spec.get("securityContext", {}).get("runAsUser")
            )
            users[mounted].add(own)
            if mounted and (
                title(pod.document) != "Deployment/queue"
                or container["name"] not in ("keys", "serve")
            ):
                yield pod.finding(
                    f"{field}.volumeMounts",
                    "mounts the signing keys, which no actor, worker or task may see.",
                )
        if users[True] & users[False]:
            yield pod.finding(
                "spec",
                "a container without the signing keys has the user of one with them: give those "
                "a runAsUser of their own.",
            )


def project() -> dict[str, object]:
    """pyproject.toml's project."""
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


def ray_range() -> Requirement:
    """The versions of Ray that pyproject.toml allows."""
    named = (Requirement(text) for text in project()["dependencies"])  # type: ignore[attr-defined]
    return next(requirement for requirement in named if requirement.name == "ray")


Rule = Callable[[Sequence[Document]], Iterator[Finding]]
SAFETY: tuple[Rule, ...] = (locked, bounded, images, keys_apart)
AGREEMENT: tuple[Rule, ...] = (references, addresses, variables, understood)
