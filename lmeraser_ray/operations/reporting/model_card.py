"""The card of an exported model, in Hugging Face's format: YAML at its head, then Markdown.

Place in the flow: `export` writes it beside the tensors. Invariant: no name of a class, a record or
a person is in it; the figures are those of `evaluate`.
"""

from collections.abc import Iterator
from datetime import datetime
from math import isfinite
from typing import Any

import yaml

from lmeraser_ray.config import Config
from lmeraser_ray.operations.evaluate import Evaluation
from lmeraser_ray.operations.reporting.page import environment
from lmeraser_ray.operations.reporting.page_facts import about_lines
from lmeraser_ray.pipeline.manifest import Manifest

TYPES = {
    "accuracy": "accuracy",
    "balanced accuracy": "balanced_accuracy",
    "macro F1": "f1",
    "log loss": "log_loss",
    "calibration error": "expected_calibration_error",
}
"""What Hugging Face calls the measures of `evaluate`."""


def card_of(
    state: str,
    classes: int,
    features: int,
    config: Config,
    manifest: Manifest,
    evaluation: Evaluation,
    published: datetime | None,
    license_id: str,
) -> bytes:
    """Return README.md in UTF-8. state: the keyed hash of the published fingerprint; classes: how
    many; features: of single records that are in the model; manifest: of the published state."""
    name = f"lmeraser-{state[:12]}"
    head = front_matter(name, evaluation, license_id)
    text = (
        environment()
        .get_template("model-card.md.j2")
        .render(
            head=yaml.safe_dump(head, sort_keys=False),
            name=name,
            state=state,
            classes=classes,
            features=features,
            about=list(about_lines(config, manifest)),
            published=published,
            evaluation=evaluation,
            license=license_id,
        )
    )
    return text.encode()


def front_matter(name: str, evaluation: Evaluation, license_id: str) -> dict[str, Any]:
    """Return the fields that Hugging Face reads (`model-index` has the metrics)."""
    head: dict[str, Any] = {"license": license_id}
    if license_id == "other":
        head |= {"license_name": "not-stated"}
    head |= {
        "library_name": "lmeraser_ray",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "machine-unlearning", "exact-unlearning", "lmeraser"],
    }
    metrics = list(metrics_of(evaluation))
    if metrics:
        task = {"type": "image-classification", "name": "Image classification"}
        dataset = {"type": "private", "name": "held-out test records", "split": "test"}
        results = [{"task": task, "dataset": dataset, "metrics": metrics}]
        head["model-index"] = [{"name": name, "results": results}]
    return head


def metrics_of(evaluation: Evaluation) -> Iterator[dict[str, object]]:
    """Yield the measures of the test records that are numbers."""
    measures = evaluation.quality.measures if evaluation.quality else {}
    for name, found in measures.items():
        if isfinite(found.value):
            yield {"type": TYPES[name], "value": round(found.value, 6), "name": f"test {name}"}
