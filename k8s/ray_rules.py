"""Our rules for Ray's clusters and jobs: what KubeRay's operator, or Ray, would refuse or undo, and
its schema lets through."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from k8s.documents import Document, Finding, Pod, clusters, commands, of_kind, pods, quantity, title
from k8s.network_rules import NETWORK
from k8s.rules import AGREEMENT, SAFETY, Rule, ray_range
from k8s.secret_rules import SECRETS


def clusters_are_ours(documents: Sequence[Document]) -> Iterator[Finding]:
    """Every cluster runs the tested Ray and asks for a token; the standing one survives its
    head."""
    for document, path, spec in clusters(documents):
        version = str(spec.get("rayVersion"))
        if version not in ray_range().specifier:
            yield Finding(
                title(document),
                f"{path}.rayVersion",
                f"is {version}, pyproject.toml wants {ray_range().specifier}.",
            )
        if spec.get("authOptions", {}).get("mode") != "token":
            yield Finding(
                title(document),
                f"{path}.authOptions",
                "expected mode: token; whoever reaches the ports could run code in it.",
            )
        scaler = spec.get("autoscalerOptions", {}).get("securityContext", {})
        if scaler.get("readOnlyRootFilesystem") is not True:
            yield Finding(
                title(document),
                f"{path}.autoscalerOptions.securityContext",
                "expected readOnlyRootFilesystem: true.",
            )
        kept = "gcsFaultToleranceOptions" in spec
        if kept != (document["kind"] == "RayCluster"):
            yield Finding(
                title(document),
                f"{path}.gcsFaultToleranceOptions",
                "is for the standing cluster, and for no job's own.",
            )


def scaling(documents: Sequence[Document]) -> Iterator[Finding]:
    """Workers are as many as they are, or an autoscaler of version 2 changes their number."""
    for document, path, spec in clusters(documents):
        scales = spec.get("enableInTreeAutoscaling", False)
        for at, group in enumerate(spec.get("workerGroupSpecs", ())):
            least, now, most = (
                group.get(name) for name in ("minReplicas", "replicas", "maxReplicas")
            )
            field = f"{path}.workerGroupSpecs[{at}]"
            if not (least <= now <= most and (least < most) == scales):
                expected = (
                    "min <= replicas <= max, min < max"
                    if scales
                    else "one number, as nobody changes it"
                )
                yield Finding(
                    title(document),
                    f"{field}.replicas",
                    f"min {least}, now {now}, max {most}: expected {expected}.",
                )
            if least < 1:
                yield Finding(
                    title(document),
                    f"{field}.minReplicas",
                    "is 0: the engine counts the GPUs that are there before it starts.",
                )
        if scales and spec.get("autoscalerOptions", {}).get("version") != "v2":
            yield Finding(title(document), f"{path}.autoscalerOptions.version", "expected v2.")
    grows = {
        title(document)
        for document, _, spec in clusters(documents)
        if spec.get("enableInTreeAutoscaling")
    }
    for pod in ray_pods(documents):
        scales, head = title(pod.document) in grows, "headGroupSpec" in pod.path
        if scales and pod.spec.get("restartPolicy") != "Never":
            yield pod.finding(
                "spec.restartPolicy",
                "expected Never: autoscaler v2 replaces pods, and KubeRay refuses anything else.",
            )
        if scales and head == (pod.spec.get("automountServiceAccountToken") is False):
            yield pod.finding(
                "spec.automountServiceAccountToken",
                "the autoscaler in the head needs the API's token, nothing else does.",
            )


def memory(documents: Sequence[Document]) -> Iterator[Finding]:
    """Ray's object store has its room in memory: /dev/shm of that size, within the container's
    limit; /tmp is a volume."""
    for document, path, spec in clusters(documents):
        groups = [("headGroupSpec", spec["headGroupSpec"])]
        groups += [
            (f"workerGroupSpecs[{at}]", group)
            for at, group in enumerate(spec.get("workerGroupSpecs", ()))
        ]
        for name, group in groups:
            pod = Pod(document, f"{path}.{name}.template", group["template"], ray=True)
            container = pod.spec["containers"][0]
            mounts = {
                mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", ())
            }
            volumes = {
                volume["name"]: volume.get("emptyDir", {}) for volume in pod.spec.get("volumes", ())
            }
            shm = volumes.get(mounts.get("/dev/shm", ""), {})  # noqa: S108
            wanted = quantity(group.get("rayStartParams", {}).get("object-store-memory", "0"))
            room = quantity(shm.get("sizeLimit", "0"))
            if shm.get("medium") != "Memory" or not 0 < wanted <= room:
                yield pod.finding(
                    "spec.volumes",
                    f"{room:.0f} bytes of memory at /dev/shm, object-store-memory is {wanted:.0f}.",
                )
            if room + 2**31 > quantity(container["resources"]["limits"].get("memory", "0")):
                yield pod.finding(
                    "spec.containers[0].resources.limits.memory",
                    "expected 2 GiB more than /dev/shm at least.",
                )
            if "/tmp" not in mounts:  # noqa: S108
                yield pod.finding(
                    "spec.containers[0].volumeMounts",
                    "has no /tmp, where Ray keeps sockets and logs.",
                )


def gpus(documents: Sequence[Document]) -> Iterator[Finding]:
    """A fraction of a GPU divides it, the GPU is a worker's, and its worker has a CPU for each task
    on it."""
    fractions = {
        (name, float(value))
        for _, _, words in commands(documents)
        for name, value in pairwise(words)
        if name in ("--execution.task_gpus", "--execution.feature_gpus")
    }
    for pod in ray_pods(documents):
        limits = pod.spec["containers"][0]["resources"]["limits"]
        there = quantity(limits.get("nvidia.com/gpu", "0"))
        if "headGroupSpec" in pod.path:
            continue
        if fractions and not there:
            yield pod.finding(
                "spec.containers[0].resources.limits",
                f"has no nvidia.com/gpu, and {min(fractions)[0]} asks for one.",
            )
        for name, fraction in sorted(fractions):
            tasks = there / fraction if fraction else 0
            if tasks != int(tasks):
                yield pod.finding(
                    "spec.containers[0].resources.limits",
                    f"{name} {fraction:g} does not divide {there:g} GPUs.",
                )
            if tasks > quantity(limits.get("cpu", "0")):
                yield pod.finding(
                    "spec.containers[0].resources.limits.cpu",
                    f"{tasks:g} tasks of {name} {fraction:g} need a CPU each.",
                )


def jobs(documents: Sequence[Document]) -> Iterator[Finding]:
    """A job waits until it is asked for, takes its cluster with it, and never one that is not its
    own."""
    for document in of_kind(documents, "RayJob"):
        spec = document["spec"]
        if spec.get("suspend") is not True or spec.get("shutdownAfterJobFinishes") is not True:
            yield Finding(
                title(document),
                "spec.suspend",
                "expected suspend and shutdownAfterJobFinishes: applying starts nothing.",
            )
        if spec.get("clusterSelector") and spec.get("backoffLimit"):
            yield Finding(
                title(document),
                "spec.backoffLimit",
                "with clusterSelector, a try after a failure deletes the cluster.",
            )


def budgets(documents: Sequence[Document]) -> Iterator[Finding]:
    """A budget of Ray's pods says minAvailable, as a number: they belong to a RayCluster, which has
    no scale to take a share of."""
    for document in of_kind(documents, "PodDisruptionBudget"):
        selected = document["spec"]["selector"].get("matchLabels", {})
        if any(name.startswith("ray.io/") for name in selected) and not isinstance(
            document["spec"].get("minAvailable"), int
        ):
            yield Finding(
                title(document), "spec.minAvailable", "expected a number, and no maxUnavailable."
            )


def ray_pods(documents: Sequence[Document]) -> Iterator[Pod]:
    """Those that KubeRay runs."""
    return (pod for pod in pods(documents) if pod.ray)


RULES: tuple[Rule, ...] = (
    *SAFETY,
    *SECRETS,
    *AGREEMENT,
    clusters_are_ours,
    scaling,
    memory,
    gpus,
    jobs,
    budgets,
    *NETWORK,
)
