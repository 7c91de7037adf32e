"""The verbs that write to a workspace: `train`, `unlearn`, `demo`."""

from pathlib import Path
from typing import Any

from lmeraser_ray.cli.requests import named_by
from lmeraser_ray.cli.verb import (
    Arguments,
    Parser,
    Report,
    counted,
    in_job,
    session_of,
    share,
    timed,
)
from lmeraser_ray.config import presets
from lmeraser_ray.config.options import load_config, to_yaml
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.paths import require_disk


def train_options(parser: Parser) -> None:
    """Where the configuration comes from."""
    parser.add_argument(
        "--config", type=Path, help="a YAML file; without it, the quickstart configuration"
    )
    parser.add_argument(
        "--system",
        help=f"train another system: {', '.join(presets.names())}, or a YAML file with its three "
        "sections",
    )
    parser.add_argument(
        "--print_config", action="store_true", help="print the effective configuration and stop"
    )


def run_train(args: Arguments, progress: Progress) -> Report:
    """`lmeraser train`."""
    config = load_config(args.config, args.overrides, system=args.system)
    if args.print_config:
        return Report(to_yaml(config).rstrip(), None)
    from lmeraser_ray.operations.train import Training, train

    done: Training = train(Session(args.workspace, progress), config)
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
    """What a person should know of what came in."""
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


def run_unlearn(args: Arguments, progress: Progress) -> Report:
    """`lmeraser unlearn`."""
    from lmeraser_ray.operations.unlearn import unlearn

    done = unlearn(session_of(args, progress), named_by(args), quarantine=args.quarantine)
    trained = len(done.rebuilt)
    data = {
        "request": done.request.id,
        "removed": done.removed,
        "already_erased": None if in_job() else list(done.already),
        "constituents": trained + done.reused,
        "retrained": trained,
        "reused": done.reused,
        "reclustered": done.reclustered,
        "passes": done.passes,
        "seen_by_sweep": done.seen,
        "seconds": progress.rounded(),
        "fingerprint_before": done.before,
        "fingerprint": done.after,
        "certificate": done.request.certificate_sha256,
    }
    text = (
        f"{counted(done.removed, 'record')} removed; {trained} of "
        f"{counted(trained + done.reused, 'constituent')} trained again, {done.reused} "
        f"reused{', re-clustered' if done.reclustered else ''}\n{timed(progress)}\nfingerprint "
        f"{done.before}\n         -> {done.after}\ncertified: `lmeraser certificate "
        f"{done.request.id}`"
    )
    which = "" if in_job() else f": {', '.join(done.already[:5])}"
    notes = [f"{counted(len(done.already), 'id')} erased before{which}."] if done.already else []
    if done.seen:
        notes.append(
            f"the configuration was chosen by a sweep on data that included {done.seen:,} of the "
            "erased records: run `lmeraser sweep` again and train on its choice, or choose with "
            "sweep.on public."
        )
    return Report(text, data, tuple(notes))


def run_demo(args: Arguments, progress: Progress) -> Report:
    """`lmeraser demo`."""
    from lmeraser_ray.cli.demo import demo

    return demo(require_disk(args.workspace), args.overrides, progress)
