"""Mistakes to plant in the manifests: overlay, document, field, value, and what the finding must
name."""

from collections.abc import Callable

GONE = object()
HEAD, WORKER = "spec.headGroupSpec.template.spec", "spec.workerGroupSpecs.0.template.spec"
JOBS_WORKER = "spec.rayClusterSpec.workerGroupSpecs.0.template.spec.containers.0"
JOBS_HEAD = "spec.rayClusterSpec.headGroupSpec.template.spec"
SERVE = "spec.template.spec.containers.0"


def replaced(old: str, new: str) -> Callable[[str], str]:
    """Puts something else in the place of a part that must be there."""

    def replace(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return replace


SCHEMA = [
    ("local", "RayCluster/lmeraser", "spec.workerGroupSpec", [], "workerGroupSpec"),
    (
        "local",
        "RayCluster/lmeraser",
        "spec.workerGroupSpecs.0.replicas",
        "two",
        "spec.workerGroupSpecs[0].replicas",
    ),
    ("local", "RayCluster/lmeraser", "spec.authOptions.mode", "tokens", "spec.authOptions.mode"),
    (
        "autoscaling",
        "RayCluster/lmeraser",
        "spec.autoscalerOptions.version",
        "v3",
        "spec.autoscalerOptions.version",
    ),
    (
        "gpu",
        "RayJob/train",
        f"{JOBS_WORKER}.resource",
        {},
        "spec.rayClusterSpec.workerGroupSpecs[0].template.spec.containers[0]",
    ),
    ("gpu", "RayJob/train", "spec.backOffLimit", 3, "backOffLimit"),
]
MISTAKES = [
    # the schemas of Kubernetes
    ("local", "Deployment/queue", "spec.replica", 1, "replica"),
    ("local", "NetworkPolicy/nothing", "spec.policyTypes", "Ingress", "spec.policyTypes"),
    (
        "local",
        "StatefulSet/postgres",
        "spec.template.spec.containers.0.ports.0.containerPort",
        "5432",
        "ports[0].containerPort",
    ),
    ("local", "PodDisruptionBudget/head", "apiVersion", "policy/v2", "no schema"),
    # nobody is root, nothing is unbounded
    (
        "local",
        "Deployment/queue",
        "spec.template.spec.securityContext.runAsNonRoot",
        GONE,
        "runAsNonRoot",
    ),
    ("local", "RayCluster/lmeraser", f"{HEAD}.securityContext.runAsUser", 0, "runAsUser"),
    (
        "local",
        "StatefulSet/redis",
        "spec.template.spec.securityContext.seccompProfile",
        GONE,
        "seccompProfile",
    ),
    (
        "gpu",
        "RayJob/verify",
        f"{JOBS_WORKER}.securityContext.allowPrivilegeEscalation",
        True,
        "allowPrivilegeEscalation",
    ),
    (
        "gpu",
        "RayCluster/lmeraser",
        f"{WORKER}.containers.0.securityContext.capabilities",
        GONE,
        "capabilities",
    ),
    (
        "local",
        "Deployment/queue",
        "spec.template.spec.initContainers.1.resources.limits.memory",
        GONE,
        "initContainers[1].resources",
    ),
    (
        "local",
        "StatefulSet/postgres",
        "spec.template.spec.containers.0.readinessProbe",
        GONE,
        "readinessProbe",
    ),
    (
        "local",
        "Deployment/queue",
        f"{SERVE}.securityContext.readOnlyRootFilesystem",
        GONE,
        "readOnlyRootFilesystem",
    ),
    (
        "gpu",
        "RayCluster/lmeraser",
        f"{WORKER}.containers.0.securityContext.readOnlyRootFilesystem",
        False,
        "readOnlyRootFilesystem",
    ),
    (
        "autoscaling",
        "RayCluster/lmeraser",
        "spec.autoscalerOptions.securityContext.readOnlyRootFilesystem",
        GONE,
        "autoscalerOptions",
    ),
    ("local", "RayCluster/lmeraser", f"{HEAD}.volumes.0.emptyDir", {}, "sizeLimit"),
    # images and versions
    (
        "local",
        "StatefulSet/redis",
        "spec.template.spec.containers.0.image",
        "redis:latest",
        "image",
    ),
    ("local", "StatefulSet/redis", f"{SERVE}.image", "redis:8.10", "a tag that stays"),
    ("local", "StatefulSet/redis", f"{SERVE}.image", "redis", "a tag that stays"),
    ("local", "StatefulSet/postgres", f"{SERVE}.image", "postgres:17", "a tag that stays"),
    (
        "local",
        "StatefulSet/storage",
        f"{SERVE}.image",
        "ghcr.io/versity/versitygw:latest@sha256:1234",
        "a tag that stays",
    ),
    (
        "local",
        "RayJob/train",
        "spec.submitterPodTemplate.spec.containers.0.image",
        "lmeraser-ray:0.1.0",
        "version",
    ),
    ("local", "RayCluster/lmeraser", "spec.rayVersion", "2.40.0", "spec.rayVersion"),
    # what is referred to
    (
        "local",
        "Deployment/queue",
        "spec.template.spec.volumes.3.secret.secretName",
        "lmeraser-key",
        "lmeraser-key",
    ),
    (
        "local",
        "StatefulSet/postgres",
        "spec.template.spec.containers.0.env.2.valueFrom.secretKeyRef.key",
        "PASSWORD",
        "PASSWORD",
    ),
    (
        "local",
        "RayCluster/lmeraser",
        f"{WORKER}.containers.0.envFrom.0.configMapRef.name",
        "settings",
        "settings",
    ),
    (
        "local",
        "RayCluster/lmeraser",
        f"{HEAD}.volumes.2.persistentVolumeClaim.claimName",
        "file",
        "claim file",
    ),
    (
        "local",
        "RayCluster/lmeraser",
        "spec.gcsFaultToleranceOptions.redisAddress",
        "ray-redis:6379",
        "ray-redis",
    ),
    (
        "local",
        "Deployment/queue",
        "spec.template.spec.initContainers.1.args.0",
        "--address=head:6379",
        "names head",
    ),
    ("local", "Service/postgres", "spec.selector", {"app": "postgres"}, "spec.selector"),
    # command lines and variables
    (
        "local",
        "RayJob/verify",
        "spec.entrypoint",
        replaced("verify", "verfy"),
        "'verfy' is no verb",
    ),
    (
        "local",
        "RayJob/verify",
        "spec.entrypoint",
        replaced("lmeraser_ray verify", "lmeraser_ray.verify"),
        "'lmeraser_ray.verify' is no verb",
    ),
    (
        "local",
        "RayJob/verify",
        "spec.entrypoint",
        replaced("--rebuild", "--rebuilt"),
        "spec.entrypoint",
    ),
    (
        "local",
        "RayJob/train",
        "spec.entrypoint",
        replaced("quickstart.yaml", "quickstarts.yaml"),
        "not in the image",
    ),
    (
        "gpu",
        "ConfigMap/lmeraser",
        "data.OPTIONS",
        "--execution.task_gpu 0.25",
        "no field of the configuration",
    ),
    (
        "local",
        "Deployment/queue",
        f"{SERVE}.readinessProbe.exec.command.2",
        replaced("status", "state"),
        "state",
    ),
    (
        "local",
        "Deployment/queue",
        f"{SERVE}.env.4.name",
        "LMERASER_KEY",
        "LMERASER_KEY is read by nobody",
    ),
    ("local", "ConfigMap/lmeraser", "data.WORKSPCE", "s3://lmeraser/w", "data.WORKSPCE"),
    # the signing keys
    (
        "local",
        "Deployment/queue",
        "spec.template.spec.initContainers.1.volumeMounts.0.name",
        "keys",
        "signing keys",
    ),
    (
        "local",
        "RayCluster/lmeraser",
        f"{WORKER}.volumes.2",
        {"name": "files", "secret": {"secretName": "lmeraser-keys"}},
        "signing keys",
    ),
    (
        "local",
        "Deployment/queue",
        f"{SERVE}.securityContext.runAsUser",
        1000,
        "runAsUser of their own",
    ),
    # Ray's own
    ("local", "RayCluster/lmeraser", "spec.authOptions", {"mode": "disabled"}, "spec.authOptions"),
    (
        "local",
        "RayCluster/lmeraser",
        "spec.gcsFaultToleranceOptions",
        GONE,
        "gcsFaultToleranceOptions",
    ),
    (
        "local",
        "RayCluster/lmeraser",
        "spec.workerGroupSpecs.0.maxReplicas",
        4,
        "spec.workerGroupSpecs[0].replicas",
    ),
    ("local", "RayCluster/lmeraser", f"{HEAD}.volumes.1.emptyDir.sizeLimit", "512Mi", "/dev/shm"),
    (
        "local",
        "RayCluster/lmeraser",
        f"{WORKER}.containers.0.resources.limits.memory",
        "2Gi",
        "limits.memory",
    ),
    (
        "autoscaling",
        "RayCluster/lmeraser",
        "spec.autoscalerOptions.version",
        "v1",
        "spec.autoscalerOptions.version",
    ),
    ("autoscaling", "RayCluster/lmeraser", f"{WORKER}.restartPolicy", "Always", "restartPolicy"),
    (
        "autoscaling",
        "RayCluster/lmeraser",
        f"{HEAD}.automountServiceAccountToken",
        False,
        "automountServiceAccountToken",
    ),
    (
        "autoscaling",
        "RayJob/train",
        "spec.rayClusterSpec.workerGroupSpecs.0.minReplicas",
        0,
        "minReplicas",
    ),
    ("gpu", "ConfigMap/lmeraser", "data.OPTIONS", "--execution.task_gpus 0.3", "does not divide"),
    ("gpu", "ConfigMap/lmeraser", "data.OPTIONS", "--execution.task_gpus 0.125", "need a CPU each"),
    (
        "local",
        "ConfigMap/lmeraser",
        "data.OPTIONS",
        "--execution.task_gpus 0.25",
        "has no nvidia.com/gpu",
    ),
    ("local", "RayJob/train", "spec.suspend", False, "spec.suspend"),
    (
        "local",
        "RayJob/train",
        "spec.clusterSelector",
        {"ray.io/cluster": "lmeraser"},
        "spec.backoffLimit",
    ),
    # budgets and the network
    (
        "local",
        "PodDisruptionBudget/workers",
        "spec",
        lambda spec: {"selector": spec["selector"], "maxUnavailable": 1},
        "spec.minAvailable",
    ),
    ("local", "NetworkPolicy/nothing", "spec.policyTypes", ["Ingress"], "denies all by default"),
    (
        "local",
        "RayCluster/lmeraser",
        "spec.workerGroupSpecs.0.template.metadata.labels",
        {"app": "x"},
        "no network policy",
    ),
]
