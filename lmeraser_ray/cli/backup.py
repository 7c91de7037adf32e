"""The verbs that keep a workspace: `backup`, `restore`, `roles`."""

from pathlib import Path

from lmeraser_ray.cli.verb import Argument, Arguments, Report, Verb, counted, timed, workspace_of
from lmeraser_ray.config.kept import say_ignored
from lmeraser_ray.pipeline.progress import Progress

BACKUP = (
    Argument(
        "--to",
        "write the published state, the requests and the secret there (tar); a secret that lies "
        "outside of the workspace is not in it",
        type=Path,
        metavar="FILE",
    ),
    Argument(
        "--erasures",
        "write there who was erased (keyed hashes): keep it apart, write it often",
        type=Path,
        metavar="FILE",
    ),
)


def run_backup(args: Arguments, progress: Progress) -> Report:
    """Write the published state, the requests and the secret to one file, erasures to another."""
    done = workspace_of(args, progress).backup(to=args.to, erasures=args.erasures)
    data = {
        "to": str(args.to) if args.to else None,
        "fingerprint": done.fingerprint,
        "sha256": done.sha256,
        "bytes": done.size,
        "parts": done.parts,
        "ledger": {"seq": done.seq, "hash": done.hash},
        "erasures": str(args.erasures) if args.erasures else None,
        "tombstones": done.erasures,
    }
    lines = []
    if args.to:
        lines += [
            f"{args.to}: {counted(done.parts, 'part')}, {done.size:,} bytes",
            f"state {done.fingerprint}",
            f"contents {done.sha256}",
        ]
    if args.erasures:
        lines.append(f"{args.erasures}: {done.erasures:,} keyed hashes, ledger entry {done.seq}")
    notes = (
        ("it holds people's pictures: whoever is erased later stays in it, so let backups expire.",)
        if args.to
        else ()
    )
    return Report("\n".join(lines), data, notes)


RESTORE = (
    Argument(
        "--from",
        "the file of `lmeraser backup --to`",
        type=Path,
        required=True,
        dest="source",
        metavar="FILE",
    ),
    Argument(
        "--erasures", "the newest file of `lmeraser backup --erasures`", type=Path, metavar="FILE"
    ),
    Argument(
        "--no_later_erasures",
        "nobody was erased after the backup (needed where nothing else could tell)",
        action="store_true",
    ),
)


def run_restore(args: Arguments, progress: Progress) -> Report:
    """Restore a workspace from a backup, without anyone who was erased since."""
    from lmeraser_ray.operations.restore import restore

    done = restore(
        workspace_of(args, progress).session,
        args.source,
        erasures=args.erasures,
        no_later_erasures=args.no_later_erasures,
    )
    after, found = done.evaluated.manifest, done.reconciled
    data = {
        "workspace": str(args.workspace),
        "records": after.records,
        "erased_again": done.erased_again,
        "tombstones": found.tombstones,
        "retrained": len(done.evaluated.trained),
        "reused": done.evaluated.reused,
        "requests_kept": found.kept,
        "ledger_entries_lost": found.lost,
        "not_taken": dict(done.ignored),
        "fingerprint_of_backup": done.backup.fingerprint,
        "fingerprint": after.fingerprint,
        "seconds": progress.rounded(),
    }
    text = (
        f"{counted(after.records, 'record')} restored; {done.erased_again} of the backup's left "
        f"out, because they were erased; {data['retrained']} constituents trained again, "
        f"{data['reused']} reused\n{timed(progress)}\nfingerprint {done.backup.fingerprint}\n     "
        f"    -> {after.fingerprint}"
    )
    notes = (
        ["the request database that was there was kept: it continues the backup's."]
        if found.kept
        else []
    )
    notes += say_ignored("the backup's configuration.json", done.ignored)
    if found.lost:
        notes.append(
            f"the ledger had {counted(found.lost, 'entry')} more when the file of erasures was "
            "written: requests of that time that were open are to be submitted again."
        )
    return Report(text, data, tuple(notes))


ROLES = (
    Argument(
        "--apply",
        "give the roles their rights in this workspace's tables, which LMERASER_DATABASE owns",
        action="store_true",
    ),
)


def run_roles(args: Arguments, progress: Progress) -> Report:
    """Print who may do what in PostgreSQL, as SQL, or give these rights."""
    found = workspace_of(args, progress).roles(apply=args.apply)
    data = {
        "roles": list(found.names),
        "server": found.server,
        "schema": list(found.schema),
        "applied": found.applied,
    }
    if found.applied:
        return Report(f"{', '.join(found.names)}: {len(found.schema)} statements", data)
    lines = [
        "-- once, as the server's administrator, in the database that holds workspaces",
        found.server,
        "-- as the owner of this workspace's tables (roles --apply)",
        *(f"{statement};" for statement in found.schema),
    ]
    return Report("\n".join(lines), data)


VERBS = (
    Verb("backup", run_backup, BACKUP),
    Verb("restore", run_restore, RESTORE),
    Verb("roles", run_roles, ROLES),
)
