"""The verbs `cost` and `unlearn`: what an erasure would train again, and the erasure itself."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmeraser_ray.cli.requests import NAMED, named_by
from lmeraser_ray.cli.table import table
from lmeraser_ray.cli.verb import (
    Argument,
    Arguments,
    Report,
    Verb,
    counted,
    in_job,
    refuse_names,
    share,
    timed,
    workspace_of,
)
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.pipeline.progress import Progress

if TYPE_CHECKING:
    from lmeraser_ray.operations.cost import Costing


COST = (
    Argument(
        "--records",
        "record ids; without it, every training record",
        action="append",
        default=[],
        metavar="ID,…",
    ),
)


def run_cost(args: Arguments, progress: Progress) -> Report:
    """Compute the exact share of records that a deletion trains again."""
    from lmeraser_ray.erasure.requests.targets import parse_targets
    from lmeraser_ray.models.partition.expected import summarize

    refuse_names(bool(args.records), ())
    records = parse_targets(args.records, []).records
    if args.records and not records:
        raise ConfigError(
            "--records names no record: give ids between commas, or leave it out for every "
            "training record."
        )
    done = workspace_of(args, progress).cost(records)
    found = summarize(done.costs)
    data: dict[str, Any] = {
        **found,
        "parameters": done.parameters,
        "records": len(done.costs.positions),
        "seconds": progress.rounded(),
    }
    text = cost_summary(done, found)
    if args.records:
        data["deletions"] = deletions_of(done)
        text += "\n\n" + table(
            ["record", "records trained again", "share", "shards", "parameters"],
            [
                [
                    each["record"],
                    f"{each['retrained']:,}",
                    share(each["share"]),
                    f"{each['shards_touched']:,}",
                    f"{each['parameters']:,.0f}",
                ]
                for each in data["deletions"]
            ],
        )
    return Report(text, data)


def cost_summary(done: "Costing", found: Mapping[str, float | None]) -> str:
    """Return the table of what one deletion trains again. A share is one of all training records;
    the mean is split by whether the clustering had sampled the record."""
    parameters = done.parameters
    rows = [
        [
            "share of all records",
            *(share(found[f"{of}_share"]) for of in ("expected", "p99", "worst")),
        ]
    ]
    if done.costs.sampled.any():
        rows += [
            [f"  for {which} record", share(found[f"expected_share_{of}"]), "", ""]
            for which, of in (("an unsampled", "unsampled"), ("a sampled", "sampled"))
        ]
    if parameters["mean"] is not None:
        numbers = (parameters["mean"], parameters["p99"], parameters["worst"])
        rows.append([f"parameters, of {parameters['total']:,}", *(f"{n:,.0f}" for n in numbers)])
    return table(["one deletion trains again", "mean", "99th percentile", "worst"], rows)


def deletions_of(done: "Costing") -> list[dict[str, Any]]:
    """Return what the deletion of each named record costs; that of a test record costs nothing."""
    costs = done.costs
    columns = (costs.retrained, costs.share, costs.touched, done.retrained)
    each = [
        *zip(done.names, *(column.tolist() for column in columns), strict=True),
        *((name, 0, 0.0, 0, 0.0) for name in done.test),
    ]
    return [
        {"record": name, "retrained": n, "share": part, "shards_touched": k, "parameters": p}
        for name, n, part, k, p in each
    ]


def run_unlearn(args: Arguments, progress: Progress) -> Report:
    """Erase records or subjects: submit, and wait for the certificate."""
    named = named_by(args)
    done = workspace_of(args, progress).unlearn(
        records=named.records, subjects=named.subjects, quarantine=args.quarantine
    )
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


VERBS = (Verb("cost", run_cost, COST), Verb("unlearn", run_unlearn, NAMED))
