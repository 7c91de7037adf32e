"""Our rules for the network: nothing by default, no way out to everywhere, and metrics on the port
that they are asked on."""

import ipaddress
import re
from collections.abc import Iterator, Sequence

from k8s.documents import Document, Finding, Pod, clusters, of_kind, pods, title
from k8s.rules import Rule

NARROW = 8
"""The shortest prefix of an address range that a policy may let out to: 16 million addresses, as
an object storage of the internet may have."""
PORT = "prometheus.io/port"


def network(documents: Sequence[Document]) -> Iterator[Finding]:
    """Nothing reaches anything by default, and every pod is selected by a policy that says what it
    may."""
    policies = [document["spec"] for document in of_kind(documents, "NetworkPolicy")]
    if {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} not in policies:
        yield Finding(
            "NetworkPolicy/nothing", "spec", "is missing: the policy that denies all by default."
        )
    for pod in pods(documents):
        if not any(
            spec["podSelector"] and selects(spec["podSelector"], pod.labels) for spec in policies
        ):
            yield pod.finding(
                "metadata.labels", "no network policy selects it, so nothing reaches it."
            )


def selects(selector: Document, labels: dict[str, str]) -> bool:
    """Whether a selector takes these labels (its `matchLabels`, and `matchExpressions` with In)."""
    within = all(
        labels.get(part["key"]) in part["values"] for part in selector.get("matchExpressions", ())
    )
    return within and selector.get("matchLabels", {}).items() <= labels.items()


def ways_out(documents: Sequence[Document]) -> Iterator[Finding]:
    """Every way out says to whom and on which port; only Ray's pods among themselves have all
    ports."""
    for document in of_kind(documents, "NetworkPolicy"):
        for at, rule in enumerate(document["spec"].get("egress", ())):
            field, peers = f"spec.egress[{at}]", rule.get("to", [])
            if not peers:
                yield Finding(title(document), field, "has no `to`: it lets out to everywhere.")
            ranges = [peer["ipBlock"]["cidr"] for peer in peers if "ipBlock" in peer]
            for text in ranges:
                if ipaddress.ip_network(text).prefixlen < NARROW:
                    yield Finding(
                        title(document), f"{field}.to", f"{text} is everywhere: give the address."
                    )
            inside = all("podSelector" in peer for peer in peers)
            if not rule.get("ports") and not (inside and document["metadata"]["name"] == "ray"):
                yield Finding(title(document), f"{field}.ports", "is missing: any port is open.")


def reach(documents: Sequence[Document]) -> Iterator[Finding]:
    """A pod is let to the database or the bucket where it has a secret for it, and only then."""
    for pod in pods(documents):
        secrets = re.findall(r"lmeraser-(database|storage)[\w-]*'", str(pod.spec))
        for service in ("database", "storage"):
            given, wanted = f"lmeraser/{service}" in pod.labels, service in secrets
            serves = pod.labels.get("app.kubernetes.io/component") in ("postgres", "storage")
            if given != wanted and not serves:
                yield pod.finding(
                    "metadata.labels",
                    f"lmeraser/{service} is {'there without' if given else 'missing beside'} a "
                    f"secret for the {service}.",
                )


def metrics(documents: Sequence[Document]) -> Iterator[Finding]:
    """What exports metrics does so on the port that Prometheus asks and that the policy lets it
    ask, and is told that port."""
    told = {
        f"{path}.{name}.template": str(group.get("rayStartParams", {}).get("metrics-export-port"))
        for _, path, spec in clusters(documents)
        for name, group in groups(spec)
    }
    allowed = {
        str(port["port"])
        for document in of_kind(documents, "NetworkPolicy")
        for rule in document["spec"].get("ingress", ())
        if "monitoring" in str(rule.get("from"))
        for port in rule.get("ports", ())
    }
    for pod in pods(documents):
        asked = pod.template.get("metadata", {}).get("annotations", {}).get(PORT)
        if asked is None:
            continue
        open_ports = {
            str(port["containerPort"])
            for _, container in pod.containers()
            for port in container.get("ports", ())
            if port["name"] == "metrics"
        }
        if open_ports != {asked} or asked not in allowed:
            yield pod.finding("metadata.annotations", f"{PORT} is {asked}, which is not open.")
        if (told[pod.path] if pod.ray else option(pod)) != asked:
            yield pod.finding(
                "spec", f"expected metrics-export-port {asked}: Ray would take any port."
            )


def groups(spec: Document) -> Iterator[tuple[str, Document]]:
    """The groups of a Ray cluster, with their fields."""
    yield "headGroupSpec", spec.get("headGroupSpec", {})
    for at, group in enumerate(spec.get("workerGroupSpecs", ())):
        yield f"workerGroupSpecs[{at}]", group


def option(pod: Pod) -> str | None:
    """The port that a pod's `ray start` is told."""
    found = re.search(r"--metrics-export-port=(\d+)", str(pod.spec))
    return found[1] if found else None


NETWORK: tuple[Rule, ...] = (network, ways_out, reach, metrics)
