"""The verb `train`."""

from pathlib import Path
from typing import Any

from lmeraser_ray.cli.verb import Argument, Arguments, Report, Verb, counted, in_job, share, timed
from lmeraser_ray.config import presets
from lmeraser_ray.config.options import load_config, to_yaml
from lmeraser_ray.operations.workspace import Workspace
from lmeraser_ray.pipeline.progress import Progress

TRAIN = (
    Argument("--config", "a YAML file; without it, the quickstart configuration", type=Path),
    Argument(
        "--system",
        f"train another system: {', '.join(presets.names())}, or a YAML file with its three "
        "sections",
    ),
    Argument("--print_config", "print the effective configuration and stop", action="store_true"),
)


def run_train(args: Arguments, progress: Progress) -> Report:
    """Train a workspace on its records; what exists is reused, what was interrupted goes on."""
    config = load_config(args.config, args.overrides, system=args.system)
    if args.print_config:
        return Report(to_yaml(config).rstrip(), None)
    done = Workspace(args.workspace, progress=progress).train(config)
    manifest, ingested, evaluated = done.manifest, done.ingested, done.evaluated
    data = {
        "workspace": str(args.workspace),
        "records": manifest.records,
        "training_records": manifest.training_records,
        "test_records": manifest.records - manifest.training_records,
        "shards": len(manifest.shards),
        "trained": len(evaluated.trained),
        "reused": evaluated.reused,
        "passes": done.passes,
        "features_computed": evaluated.features_computed,
        "erased_left_out": ingested.left_out,
        "excluded": ingested.excluded,
        "equal_pictures": ingested.twins,
        "seen_by_sweep": manifest.seen if manifest.choice else None,
        "accuracy": {"test": done.test.accuracy},
        "seconds": progress.rounded(),
        "fingerprint": manifest.fingerprint,
    }
    text = (
        f"{manifest.training_records:,} training records in {len(manifest.shards)} shards: "
        f"{len(evaluated.trained)} trained, {evaluated.reused} reused\ntest accuracy "
        f"{share(done.test.accuracy)} on {done.test.records:,} "
        f"records\n{timed(progress)}\nfingerprint {manifest.fingerprint}"
    )
    return Report(text, data, train_notes(ingested))


def train_notes(ingested: Any) -> tuple[str, ...]:
    """Return what a person should know about the records that were read."""
    notes = []
    if ingested.left_out:
        notes.append(
            f"{counted(ingested.left_out, 'record')} erased before, left out again "
            "(--data.readmit FILE lets ids in)."
        )
    if ingested.let_in_again:
        notes.append(
            f"{counted(ingested.let_in_again, 'erased id')} let in again: take data.readmit out "
            "of the configuration now."
        )
    if ingested.unknown_exclusions:
        notes.append(
            f"data.exclude names {counted(len(ingested.unknown_exclusions), 'id')} that the "
            "source does not have."
        )
    if ingested.twins:
        example = "" if in_job() else f" (first {' and '.join(ingested.twin_example or ())})"
        notes.append(
            f"{counted(ingested.twins, 'record')} with a picture that another record has "
            f"too{example}: erasing one leaves the other, so name both, or give them one subject."
        )
    return tuple(notes)


VERBS = (Verb("train", run_train, TRAIN, configures=True),)
