"""Validate the manifests without a cluster: python -m k8s.validate [--crds DIR] [--overlay DIR…]

    kubectl kustomize → every document against its schema, unknown fields forbidden
                      → the rules of `rules.py`, `secret_rules.py`, `network_rules.py` and
                        `ray_rules.py`

Core kinds have their schemas from `kubernetes-validate`; KubeRay's are the
CustomResourceDefinitions in DIR, of version 1.7 (from its release, or `kubectl get crd
rayclusters.ray.io rayjobs.ray.io -o yaml`). Without DIR that part is left out, and the last line
says so. What only an API server and the operator know (admission, CEL rules, images, storage
classes) is not looked at.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from k8s.documents import Document, Finding, title
from k8s.ray_rules import RULES
from k8s.rules import by_tag
from lmeraser_ray.errors import ConfigError, ExecutionError, LmeraserError, VerificationError

HERE = Path(__file__).parent
OVERLAYS = tuple(sorted(path.parent for path in (HERE / "overlays").glob("*/kustomization.yaml")))
KUBERNETES = "1.33"
"""The version of Kubernetes whose schemas are meant."""
Schemas = Mapping[tuple[str, str], Any]


def render(folder: Path) -> list[Document]:
    """The documents of an overlay. Errors: `ExecutionError` where kubectl is missing,
    `VerificationError` where kustomize refuses it."""
    try:
        done = subprocess.run(
            ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise ExecutionError(
            "kubectl is not installed: its `kustomize` builds the overlays. Install kubectl 1.29 "
            "or newer."
        ) from error
    if done.returncode:
        raise VerificationError(f"kubectl kustomize {folder} failed: {done.stderr.strip()}")
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def strict(schema: Any) -> Any:
    """A CRD's schema in which fields that it does not name are forbidden, as `kubectl apply` has it
    with field validation."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(part) for name, part in schema.items() if name != "properties"}
    if "properties" in schema:
        made["properties"] = {name: strict(part) for name, part in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    return made


def load_schemas(folder: Path) -> Schemas:
    """The schemas of all CRDs in a folder, by apiVersion and kind. Errors: `ConfigError` where it
    has none."""
    found = {}
    for path in sorted((*folder.glob("*.yaml"), *folder.glob("*.yml"))):
        for document in yaml.load_all(
            path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        ):
            for crd in document.get("items", [document]) if isinstance(document, dict) else ():
                spec = crd.get("spec", {})
                for version in spec.get("versions", ()):
                    schema = strict(version["schema"]["openAPIV3Schema"])
                    found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = (
                        jsonschema.Draft202012Validator(schema)
                    )
    if not found:
        raise ConfigError(
            f"--crds {folder} holds no CustomResourceDefinition in YAML: give the folder of "
            "KubeRay's."
        )
    return found


def against_schema(document: Document, schemas: Schemas) -> Iterator[Finding]:
    """What a document's schema finds. A kind of KubeRay's is left out where its schema is not
    given."""
    kind = (str(document.get("apiVersion")), str(document.get("kind")))
    if kind in schemas:
        for error in sorted(
            schemas[kind].iter_errors(document), key=lambda error: list(map(str, error.path))
        ):
            yield Finding(
                title(document), field_of(error), f"{error.message[:200]} (schema of {kind[0]})"
            )
    elif not kind[0].startswith("ray.io/") or schemas:
        yield from against_core(json.dumps(document))


@lru_cache(maxsize=256)
def against_core(text: str) -> tuple[Finding, ...]:
    """What the schema of a core kind finds in a document, as JSON. Overlays share most documents,
    and reading the schemas takes 22 ms each time."""
    document = json.loads(text)
    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        return (
            Finding(
                title(document),
                "kind",
                f"{document['kind']} of {document['apiVersion']} has no schema.",
            ),
        )
    except kubernetes_validate.ValidationError as error:
        return (
            Finding(
                title(document),
                field_of(error),
                f"{error.message[:200]} (schema of Kubernetes {KUBERNETES})",
            ),
        )
    return ()


def field_of(error: jsonschema.ValidationError) -> str:
    """`spec.containers[0].image`."""
    return (
        "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.path).lstrip(
            "."
        )
        or "the document"
    )


def examine(documents: Sequence[Document], schemas: Schemas) -> list[Finding]:
    """Everything that is wrong with an overlay. The rules are asked only where the schemas find
    nothing: they rely on the shape."""
    found = [finding for document in documents for finding in against_schema(document, schemas)]
    return found or [finding for rule in RULES for finding in rule(documents)]


def main(argv: Sequence[str] | None = None) -> int:
    """Validate, print what was found. Returns the exit code: 0, or that of the error; findings are
    4."""
    parser = argparse.ArgumentParser(
        "k8s.validate", description="Validate the Kubernetes manifests without a cluster."
    )
    parser.add_argument(
        "--crds", type=Path, metavar="DIR", help="KubeRay's CustomResourceDefinitions (YAML)"
    )
    parser.add_argument(
        "--overlay",
        type=Path,
        action="append",
        metavar="DIR",
        help="another overlay than those in k8s/overlays",
    )
    args = parser.parse_args(argv)
    try:
        schemas = load_schemas(args.crds) if args.crds else {}
        wrong, tags = 0, set[str]()
        for folder in args.overlay or OVERLAYS:
            documents = render(folder)
            found = examine(documents, schemas)
            wrong, tags = wrong + len(found), tags | set(by_tag(documents))
            for finding in found:
                print(f"{folder.name}: {finding}")
            print(f"{folder.name}: {len(documents)} documents, {len(found)} mistakes")
    except LmeraserError as error:
        print(f"k8s.validate: error: {error}", file=sys.stderr)
        return error.exit_code
    if tags:
        print(f"BY TAG, NOT BY DIGEST: {', '.join(sorted(tags))} (make images asks for digests).")
    if not schemas:
        print(
            "NOT VALIDATED: RayCluster and RayJob against KubeRay's schemas, which were not "
            "given (make validate-k8s CRDS=DIR)."
        )
    return VerificationError.exit_code if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
