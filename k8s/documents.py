"""The documents of an overlay and what is in them: pods, containers, settings. Read only;
`rules.py` and `validate.py` judge."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """A mistake: the document and field it is in, what was found, what is expected."""

    document: str
    field: str
    sentence: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.document} {self.field}: {self.sentence}"


@dataclass(frozen=True)
class Pod:
    """A pod that a document asks for. path: of its template; labels: those that it gets from it;
    spec: the pod's; ray: KubeRay runs it."""

    document: Document
    path: str
    template: Document
    ray: bool = False

    @property
    def spec(self) -> Document:
        """Its specification."""
        return dict(self.template.get("spec", {}))

    @property
    def labels(self) -> dict[str, str]:
        """Those of the template."""
        return dict(self.template.get("metadata", {}).get("labels", {}))

    def finding(self, field: str, sentence: str) -> Finding:
        """A mistake in this pod."""
        return Finding(title(self.document), f"{self.path}.{field}", sentence)

    def containers(self) -> Iterator[tuple[str, Document]]:
        """Every container with its field, those that run before included."""
        for kind in ("initContainers", "containers"):
            for at, container in enumerate(self.spec.get(kind) or ()):
                yield f"spec.{kind}[{at}]", container


def title(document: Document) -> str:
    """`Kind/name`."""
    return f"{document.get('kind')}/{document.get('metadata', {}).get('name')}"


def of_kind(documents: Sequence[Document], *kinds: str) -> Iterator[Document]:
    """Those of these kinds."""
    return (document for document in documents if document.get("kind") in kinds)


def clusters(documents: Sequence[Document]) -> Iterator[tuple[Document, str, Document]]:
    """Every Ray cluster: its document, the path of its specification, and that; of a job the one
    that it brings."""
    for document in of_kind(documents, "RayCluster"):
        yield document, "spec", document["spec"]
    for document in of_kind(documents, "RayJob"):
        yield document, "spec.rayClusterSpec", document["spec"].get("rayClusterSpec", {})


def pods(documents: Sequence[Document]) -> Iterator[Pod]:
    """Every pod that is asked for."""
    for document in of_kind(documents, "Deployment", "StatefulSet", "Job"):
        yield Pod(document, "spec.template", document["spec"]["template"])
    for document in of_kind(documents, "RayJob"):
        yield Pod(
            document, "spec.submitterPodTemplate", document["spec"].get("submitterPodTemplate", {})
        )
    for document, path, spec in clusters(documents):
        yield Pod(
            document,
            f"{path}.headGroupSpec.template",
            spec.get("headGroupSpec", {}).get("template", {}),
            ray=True,
        )
        for at, group in enumerate(spec.get("workerGroupSpecs", ())):
            yield Pod(
                document,
                f"{path}.workerGroupSpecs[{at}].template",
                group.get("template", {}),
                ray=True,
            )


def settings(documents: Sequence[Document]) -> dict[str, str]:
    """The overlay's own settings: the ConfigMap that its containers' environments come from."""
    named = (
        document
        for document in of_kind(documents, "ConfigMap")
        if document["metadata"]["name"] == "lmeraser"
    )
    return dict(next(named, {}).get("data", {}))


ENTRIES = ("train", "unlearn", "sweep")
"""Modules of the package that run by themselves: `python -m lmeraser_ray.train`."""
OURS = re.compile(
    r"(?:python -m lmeraser_ray\.(\w+)|(?:python -m lmeraser_ray|\blmeraser) ([a-z]\w*))([^|;\n]*)"
)


def commands(documents: Sequence[Document]) -> Iterator[tuple[Document, str, list[str]]]:
    """Every command line of ours: its document, its field, the verb and its words with the settings
    put in."""
    known = settings(documents)
    for document, field, text in texts(documents):
        for entry, named, rest in OURS.findall(text):
            put_in = re.sub(r"\$(\w+)", lambda found: known.get(found[1], found[0]), rest)
            verb = named or (entry if entry in ENTRIES else f"lmeraser_ray.{entry}")
            yield document, field, [verb, *shlex.split(put_in)]


def texts(documents: Sequence[Document]) -> Iterator[tuple[Document, str, str]]:
    """What shells are given: entrypoints, arguments, probes."""
    for document in of_kind(documents, "RayJob"):
        yield document, "spec.entrypoint", document["spec"].get("entrypoint", "")
    for pod in pods(documents):
        for field, container in pod.containers():
            words = [*container.get("command", ()), *container.get("args", ())]
            probes = (
                container.get(name, {}).get("exec", {})
                for name in ("readinessProbe", "livenessProbe", "startupProbe")
            )
            for text in (*words, *(word for probe in probes for word in probe.get("command", ()))):
                yield pod.document, f"{pod.path}.{field}", text


def quantity(text: object) -> float:
    """A Kubernetes quantity as a number: 500m is 0.5, 1Gi is 2^30."""
    found = re.fullmatch(r"([0-9.]+)(m|[KMGT]i?)?", str(text))
    if not found:
        return 0.0
    factors = {"m": 0.001, **{letter: 1000.0**i for i, letter in enumerate("KMGT", 1)}}
    factors |= {f"{letter}i": 1024.0**i for i, letter in enumerate("KMGT", 1)}
    return float(found[1]) * factors.get(found[2] or "", 1.0)
