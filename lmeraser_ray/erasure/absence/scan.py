"""The absence scan: after the purge and before the certificate, every registered place is looked
through for what was erased.

    needles → live rows read, every picture byte and feature row accounted for → every file searched → the request database → a report

Invariants: a finding stops the certificate; what explains an occurrence is a live record that owns
these very bytes, a live name that contains the id, or an open request that still has to name it,
and each is counted; a report holds no id. The holder of the workspace's lock scans, so that no
other command writes meanwhile; jobs under way may (`keep`, `expected`).
"""

import os
import stat
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from lmeraser_ray.erasure.absence.database_search import FILE, JOURNAL, search_database
from lmeraser_ray.erasure.absence.inventory import RAY_SESSION, DataPlace, place_of
from lmeraser_ray.erasure.absence.live_records import LiveRecordCheck
from lmeraser_ray.erasure.absence.patterns import PatternSet
from lmeraser_ray.erasure.absence.report import Findings, Hit, ScanReport, Searched
from lmeraser_ray.erasure.absence.traces import Traces
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.files import disk_errors
from lmeraser_ray.storage.object_storage.path import ObjectPath
from lmeraser_ray.storage.paths import Location, name_below
from lmeraser_ray.storage.store import Kind, Store, StoredObject

__all__ = ["Hit", "ScanReport", "Searched", "scan"]
Key = tuple[Kind, str]


def scan(
    folder: WorkspaceFolder,
    manifest: Manifest,
    needles: Sequence[Traces],
    *,
    database: Database | None = None,
    subjects: Collection[str] = (),
    open_names: Collection[str] = (),
    keep: Collection[StoredObject] = (),
    expected: Collection[Key] = (),
    extra_roots: Sequence[Path] = (),
) -> ScanReport:
    """Look for what was erased in every place that can be searched.

    manifest: the published one; needles: of the records that went; database: the workspace's
    request database, opened here where it is not given; subjects: those all of whose records went;
    open_names: ids that other open requests name (within a longer one of these, an id is found when
    it is that one's turn); keep: objects of work under way; expected: kinds and keys of objects
    that jobs may write at any moment; extra_roots: Ray's session folders on this machine. One pass
    over the files, about 1 GB/s a core. Errors: `VerificationError` where the published state
    itself is damaged, `ExecutionError` where a file cannot be read.
    """
    wanted, findings, alive = PatternSet(needles, subjects), Findings(), set[int]()
    wanted.learn(set(open_names) - wanted.ids - wanted.subjects)
    done = LiveRecordCheck(folder.store, manifest, wanted, findings, alive).check()
    reached = {*manifest.objects(), *keep, *filter(None, [folder.current()])}
    walk = Walk(
        folder,
        wanted,
        findings,
        alive,
        Reach(folder.store, frozenset(reached), frozenset(expected), frozenset(done)),
    )
    walk.workspace()
    for root in extra_roots:
        walk.outside(root)
    if database is not None:
        search_database(database, folder.root, wanted, findings)
    elif (folder.root / FILE).exists() or (folder.root / "database").exists():
        with closing(Database.open(folder.root, None, create=False)) as opened:
            search_database(opened, folder.root, wanted, findings)
    windows = {
        "picture": [n.picture for n in needles],
        "pixels": [n.pixels for n in needles],
        "feature": [n.feature for n in needles],
    }
    without = {kind: found.count(None) for kind, found in windows.items()}
    return ScanReport(
        len({needle.record_id for needle in needles}),
        findings.searched(),
        tuple(findings.hits),
        findings.explained,
        wanted.in_rows_only,
        without,
    )


def left_in_database(
    folder: WorkspaceFolder,
    database: Database,
    needles: Sequence[Traces],
    subjects: Collection[str] = (),
) -> tuple[Hit, ...]:
    """What the request database still has, where there should be nothing: for after the names were
    wiped, from needles in memory."""
    findings = Findings()
    search_database(database, folder.root, PatternSet(needles, subjects), findings)
    return tuple(findings.hits)


@dataclass(frozen=True)
class Reach:
    """What may be in the store. objects: reachable ones and those of work under way; expected: see
    `scan`; done: those searched before."""

    store: Store
    objects: frozenset[StoredObject]
    expected: frozenset[Key]
    done: frozenset[StoredObject]

    def item(self, path: Location) -> StoredObject | None:
        """A file of the store as the object that it is, None where it is none that may be there."""
        kind, key, sha256 = path.parent.name, path.name[:64], path.name[65:129]
        item = StoredObject(kind, key, sha256)  # type: ignore[arg-type]
        known = item in self.objects or (kind, key) in self.expected
        return item if known and path == self.store.root / kind / Path(item.name).name else None


@dataclass(frozen=True)
class Walk:
    """Searches files. alive: windows that live records own too, by pattern: in an object that is
    reached they may be theirs."""

    folder: WorkspaceFolder
    wanted: PatternSet
    findings: Findings
    alive: Collection[int]
    reach: Reach

    def workspace(self) -> None:
        """Every file of the workspace; one that is no part of it is a finding, whatever is in
        it."""
        names: dict[str, DataPlace | None] = {}
        for path, mode in below(self.folder.root):
            name = name_below(path, self.folder.root)
            place = names[name] = place_of(name)
            if stat.S_ISDIR(mode):
                continue
            item = self.reach.item(path)
            if not stat.S_ISREG(mode) or not self._belongs(name, place, item):
                self.findings.hit(place, self.wanted.masked(name), "stray file")
            if stat.S_ISREG(mode) and item not in self.reach.done and name not in (FILE, JOURNAL):
                self._file(path, name, place, item)
        self._names(names)

    def _belongs(self, name: str, place: DataPlace | None, item: StoredObject | None) -> bool:
        """Whether a file may be there: a part of a workspace; in the store an object that is
        wanted, or written by who holds the lock."""
        if not name.startswith("objects/"):
            return place is not None
        run = self.folder.store.run
        return item is not None or (run != "" and name.startswith(f"objects/tmp/{run}/"))

    def outside(self, root: Path) -> None:
        """Every file below a folder of Ray's."""
        names: dict[str, DataPlace | None] = {}
        for path, mode in below(root):
            name = name_below(path, root)
            names[name] = RAY_SESSION
            if stat.S_ISREG(mode):
                self._file(path, name, RAY_SESSION, None)
        self._names(names)

    def _file(
        self, path: Location, name: str, place: DataPlace | None, item: StoredObject | None
    ) -> None:
        """Search a file. Of pictures and features only binary patterns: text in them is some
        camera's."""
        texts = item is None or item.kind not in ("pictures", "features")
        with suppress(FileNotFoundError):  # gone meanwhile
            for match in self.wanted.search.in_file(path, texts=texts):
                own = item is not None and match.pattern in self.alive
                if own or self.wanted.explained(match):
                    self.findings.explained += 1
                else:
                    self.findings.hit(place, self.wanted.masked(name), self.wanted.trace(match))
            self.findings.count(place, path.stat().st_size)

    def _names(self, names: dict[str, DataPlace | None]) -> None:
        """Search the names of files and folders."""
        listed = list(names)
        texts = [name.encode(errors="surrogateescape") for name in listed]
        starts = [0, *accumulate(len(text) + 1 for text in texts)]
        for match in self.wanted.search.in_bytes(b"\n".join(texts)):
            if not self.wanted.explained(match):
                name = listed[bisect_right(starts, match.at) - 1]
                self.findings.hit(
                    names[name],
                    self.wanted.masked(name),
                    f"{self.wanted.trace(match)} in a file's name",
                )


def below(root: Location) -> Iterator[tuple[Location, int]]:
    """Everything below a folder with its mode, in order; links are not followed. Errors:
    `ExecutionError` where a folder cannot be read."""
    if isinstance(root, ObjectPath):
        with disk_errors(root):
            yield from ((path, stat.S_IFREG) for path in root.below())
        return

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            with disk_errors(root):
                raise error

    for folder, folders, files in os.walk(root, onerror=refuse):
        folders.sort()
        for name in (*folders, *sorted(files)):
            path = Path(folder, name)
            with suppress(FileNotFoundError):
                yield path, path.lstat().st_mode
