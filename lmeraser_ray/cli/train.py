"""The verb `train`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmeraser_ray.cli.verb import Argument, Arguments, Report, Verb, counted, in_job, share, timed
from lmeraser_ray.config import presets
from lmeraser_ray.config.options import load_config, print_config, read_yaml
from lmeraser_ray.data.sources.faults import Faults, listed
from lmeraser_ray.operations.workspace import Workspace
from lmeraser_ray.pipeline.progress import Progress

TRAIN = (
    Argument("--config", "a YAML file, or quickstart; its values stand over a system's", type=Path),
    Argument(
        "--system",
        f"train another system: {', '.join(presets.names())}, or a YAML file with its three "
        "sections",
    ),
    Argument(
        "--print_config", "print each value with where it is from, and stop", action="store_true"
    ),
)


def run_train(args: Arguments, progress: Progress) -> Report:
    """Train a workspace on its records; what exists is reused, what was interrupted goes on."""
    if args.print_config:
        printed = print_config(args.config, args.overrides, system=args.system)
        return Report(printed.rstrip(), None)
    config = load_config(args.config, args.overrides, system=args.system)
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
        "permanent_records": done.permanent,
        "equal_pictures": ingested.twins,
        "unusable_left_out": []
        if in_job()
        else [str(fault.error) for fault in ingested.faults.kept],
        "unusable": ingested.faults.number,
        "remarks": dict(ingested.faults.remarks),
        "seen_by_sweep": manifest.seen if manifest.choice else None,
        "accuracy": {"test": done.test.accuracy},
        "seconds": progress.rounded(),
        "fingerprint": manifest.fingerprint,
    }
    stays = f" ({done.permanent:,} permanent)" if done.permanent else ""
    text = (
        f"{manifest.training_records:,} training records{stays} in {len(manifest.shards)} shards: "
        f"{len(evaluated.trained)} trained, {evaluated.reused} reused\ntest accuracy "
        f"{share(done.test.accuracy)} on {done.test.records:,} "
        f"records\n{timed(progress)}\nfingerprint {manifest.fingerprint}"
    )
    notes = (
        *standing_notes(args.system, args.config),
        *tombstone_notes(done.put_back),
        *train_notes(ingested),
        *class_notes(done.classes),
        *small_shard_notes(done.small_shards, len(manifest.shards)),
    )
    return Report(text, data, notes)


def standing_notes(system: str | None, file: Path | None) -> tuple[str, ...]:
    """Return what a person should know about a file that chooses a system of its own, which stands
    over the system that the command names."""
    if system is None or file is None:
        return ()
    from lmeraser_ray.study.variants import own_sections

    own = own_sections(read_yaml(file))
    if not own:
        return ()
    return (
        f"{', '.join(own)} of {file} stand over the system {system}, since a file's values do: "
        f"leave these sections out of the file to train {system} as it is.",
    )


def class_notes(classes: Sequence[str]) -> tuple[str, ...]:
    """Return what a person should know where there is nothing to tell apart."""
    if len(classes) > 1:
        return ()
    if not classes:
        return ("no record is left to train on: the workspace answers no queries.",)
    return (
        f"all training records have the label {classes[0]!r}, which every query is answered with.",
    )


def tombstone_notes(put_back: int) -> tuple[str, ...]:
    """Return what a person should know about tombstones that were missing."""
    if not put_back:
        return ()
    return (
        f"{counted(put_back, 'tombstone')} of erased records were missing and are put back: "
        "somebody deleted them from the request database; run `lmeraser audit`.",
    )


def small_shard_notes(small: Sequence[int], shards: int) -> tuple[str, ...]:
    """Return what a person should know about shards of few records. small: how many each has."""
    if not small:
        return ()
    return (
        f"{len(small):,} of {counted(shards, 'shard')} with few records (the smallest has "
        f"{min(small)}): little is learned from so few, and fewer shards (--partition.shards) "
        "would give each more.",
    )


def train_notes(ingested: Any) -> tuple[str, ...]:
    """Return what a person should know about the records that were read."""
    notes = unusable_notes(ingested.faults)
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
    if ingested.unknown_permanent:
        notes.append(
            f"data.permanent names {counted(len(ingested.unknown_permanent), 'subject')} of whom "
            "no record was read."
        )
    if ingested.twins:
        example = "" if in_job() else f" (first {' and '.join(ingested.twin_example or ())})"
        notes.append(
            f"{counted(ingested.twins, 'record')} with a picture that another record has "
            f"too{example}: erasing one leaves the other, so name both, or give them one subject."
        )
    return (*notes, *ingested.alike)


def unusable_notes(faults: Faults) -> list[str]:
    """Return what was left out because it cannot be used, and what was read in spite of damage. The
    output of a job is kept, so it names no file."""
    notes = [
        f"{counted(number, 'picture')} with {what}: read all the same."
        for what, number in sorted(faults.remarks.items())
    ]
    if faults.number:
        words = [] if in_job() else listed([str(f.error) for f in faults.kept], faults.number)
        notes.append(
            "\n".join(
                [
                    f"{counted(faults.number, 'record')} left out, because they cannot be used "
                    "(data.on_error skip):",
                    *words,
                ]
            )
        )
    return notes


VERBS = (Verb("train", run_train, TRAIN, configures=True),)
