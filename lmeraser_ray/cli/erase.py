"""The verbs `cost` and `unlearn`: what an erasure would train again, and the erasure itself."""

from collections.abc import Mapping, Sequence
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
    share,
    timed,
    workspace_of,
)
from lmeraser_ray.config.shares import parse_share
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.pipeline.progress import Progress

if TYPE_CHECKING:
    from lmeraser_ray.operations.cost import Costing


COST = (
    *NAMED[:4],
    Argument(
        "--each",
        "besides one erasure of all that is named, each record by itself",
        action="store_true",
    ),
    Argument(
        "--person",
        "each person with all their records; groups of ten where nobody knows whose they are",
        action="store_true",
    ),
    Argument(
        "--batch",
        "random batches, deleted at once, by their share of the training records: 0.01",
        action="append",
        default=[],
        metavar="SHARE,…",
    ),
    Argument(
        "--adding",
        "random batches, added to a training of all others, by their share",
        action="append",
        default=[],
        metavar="SHARE,…",
    ),
)


def percentages(texts: Sequence[str], option: str) -> tuple[float, ...]:
    """Parse shares such as `1%` or `0.01` between commas. Errors: `ConfigError`."""
    parts = ",".join(texts).split(",") if texts else []
    return tuple(parse_share(part, option) for part in parts)


def run_cost(args: Arguments, progress: Progress) -> Report:
    """Compute the work that erasures or additions take: one record, a person, a batch."""
    named = named_by(args)
    typed = (args.records, args.subjects, args.file, args.subjects_file)
    if any(typed) and not (named.records or named.subjects):
        raise ConfigError(
            "The options name no record and no subject: give ids between commas, or leave them out "
            "for every training record."
        )
    done = workspace_of(args, progress).cost(
        named.records,
        subjects=named.subjects,
        each=args.each,
        person=args.person,
        batches=percentages(args.batch, "--batch"),
        additions=percentages(args.adding, "--adding"),
    )
    units = [done.figures(unit) for unit in done.units]
    data: dict[str, Any] = {
        "training": {"passes": done.passes, "features": done.features},
        **{name: done.figures(u) for u in done.units if (name := u.unit) in ("erasure", "record")},
        "units": units,
        "parameters": done.parameters,
        "seconds": progress.rounded(),
    }
    text = cost_summary(done, units)
    if args.each:
        data["deletions"] = deletions_of(done)
        text += "\n\n" + each_record(data["deletions"])
    return Report(text, data, cost_notes(done))


def cost_summary(done: "Costing", units: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of the work that each thing asked about takes, as a share of a full
    training's, and what a full training is."""
    known = [unit for unit in units if unit["measured"]]
    rows = [
        [
            unit["what"],
            share(unit["mean_share"])
            + ("" if unit["interval"] is None else f" ± {share(unit['interval'])}"),
            *(share(unit[f"{of}_share"]) for of in ("p50", "p99", "worst")),
            f"{unit['passes'] + unit['features']:,.0f}",
            f"{unit['shards']:,.1f}",
            "n/a" if unit["mean_seconds"] is None else f"{unit['mean_seconds']:,.1f}",
            "all" if unit["exact"] else f"{unit['measured']} drawn",
        ]
        for unit in known
    ]
    traffic = [
        [
            unit["what"],
            *(f"{unit[name]:,.0f}" for name in ("rows_read", "rows_written")),
            *(size(unit[name]) for name in ("bytes_read", "bytes_written")),
        ]
        for unit in known
    ]
    head = ["of a training's work", "mean", "p50", "p99", "worst", "passes", "shards", "seconds"]
    moved = ["on average", "rows read", "rows written", "bytes read", "bytes written"]
    whole = f"a full training: {done.features:,} feature passes, {done.passes:,} record passes"
    if done.costs.sampled.any():
        costs = done.costs
        split = (costs.share[~costs.sampled], costs.share[costs.sampled])
        told = ", ".join(
            f"{share(float(part.mean()))} for {which} record"
            for part, which in zip(split, ("an unsampled", "a sampled"), strict=True)
            if len(part)
        )
        whole += f"\none record on average: {told}"
    stays, shares = done.permanent, done.costs.share
    if stays.any() and not stays.all():
        means = (share(float(shares[which].mean())) for which in (stays, ~stays))
        whole += "\none record on average: {} for a permanent record, {} for any other".format(
            *means
        )
    if len(done.costs.positions) and done.passes:
        worst = int(done.costs.passes.max())
        whole += (
            f"\nthe worst record: {worst:,} record passes, {share(worst / done.passes)} of a full "
            "training's"
        )
    return f"{table([*head, 'computed'], rows)}\n\n{table(moved, traffic)}\n\n{whole}"


def size(number: float) -> str:
    """Return bytes in three figures."""
    for unit, letters in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= unit:
            return f"{number / unit:.3g} {letters}"
    return f"{number:.0f} B"


def cost_notes(done: "Costing") -> tuple[str, ...]:
    """Return what a person should know about the figures."""
    notes = []
    if any(not unit.exact for unit in done.units):
        notes.append(
            "units that were drawn by hash: p99 and worst are of those drawn; ± is the half width "
            "of the mean's 95% interval."
        )
    if done.pace.seconds(1.0) is None:
        notes.append(
            "no seconds are predicted: no training of this workspace by this version has been "
            "timed yet."
        )
    return tuple(notes)


def each_record(deletions: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of each named record by itself."""
    head = ["record", "record passes", "share", "shards", "records in shards that change"]
    rows = [
        [
            each["record"],
            f"{each['passes']:,}",
            share(each["share"]),
            f"{each['shards']:,}",
            f"{each['members']:,}",
        ]
        for each in deletions
    ]
    return table(head, rows)


def deletions_of(done: "Costing") -> list[dict[str, Any]]:
    """Return what the deletion of each record costs; that of a test record trains nothing."""
    costs = done.costs
    columns = (costs.passes, costs.share, costs.touched, costs.members, done.retrained)
    each = [
        *zip(done.names, *(column.tolist() for column in columns), strict=True),
        *((name, 0, 0.0, 0, 0, 0.0) for name in done.test),
    ]
    fields = ("record", "passes", "share", "shards", "members", "parameters")
    return [dict(zip(fields, row, strict=True)) for row in each]


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
    what = (
        "used for testing only: nothing was trained again"
        if done.tested_only
        else f"{trained} of {counted(trained + done.reused, 'constituent')} trained again, "
        f"{done.reused} reused{', re-clustered' if done.reclustered else ''}"
    )
    text = (
        f"{counted(done.removed, 'record')} removed; {what}\n{timed(progress)}\nfingerprint "
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
