"""The absence scan: after the purge and before the certificate, every place of the data inventory
is searched for traces of what was erased.

    traces → the live record check → every file → the request database → a report

Invariants: a finding stops the certificates of its owners; an occurrence is explained, and counted,
only by a live record that has these very bytes, by a live name that contains the id, by what the
workspace says without any record, or by an open request that still has to name it; a report holds
no id. The caller holds the workspace's lock, so that no other
command writes meanwhile; jobs under way may (`keep`, `expected`).
"""

import stat
from bisect import bisect_right
from collections.abc import Collection, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from lmeraser_ray.erasure.absence.database_search import FILE, JOURNAL, search_database
from lmeraser_ray.erasure.absence.inventory import RAY_SESSION, DataPlace, place_of
from lmeraser_ray.erasure.absence.live_records import LiveRecordCheck
from lmeraser_ray.erasure.absence.pattern_search import Match
from lmeraser_ray.erasure.absence.patterns import PatternSet
from lmeraser_ray.erasure.absence.report import Hit, ScanReport, ScanReporter, Searched
from lmeraser_ray.erasure.absence.skeletons import strings_of_header, words_of
from lmeraser_ray.erasure.absence.traces import Traces
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.files import opened, walk
from lmeraser_ray.storage.paths import Location, name_below
from lmeraser_ray.storage.store import Kind, Store, StoredObject

__all__ = ["Hit", "ScanReport", "Searched", "scan"]
Key = tuple[Kind, str]
TENSORS = ("constituents", "statistics", "partitions", "assignments")
LONGEST_HEADER = 1 << 20


def scan(
    folder: WorkspaceFolder,
    manifest: Manifest,
    traces: Sequence[Traces],
    *,
    database: Database | None = None,
    subjects: Collection[str] = (),
    open_names: Collection[str] = (),
    keep: Collection[StoredObject] = (),
    expected: Collection[Key] = (),
    extra_roots: Sequence[Path] = (),
) -> ScanReport:
    """Look for what was erased in every place that can be searched; one pass over the files.

    manifest: the published one; traces: of the erased records; database: the workspace's request
    database, opened here where it is not given; subjects: those all of whose records were erased;
    open_names: ids that other open requests name, which explain an erased id within them; keep:
    objects of work under way; expected: kinds and keys of objects that jobs may write at any
    moment; extra_roots: Ray's session folders on this machine. Errors: `VerificationError` where
    the published state itself is damaged, `ExecutionError` where a file cannot be read.
    """
    patterns, report, shared = PatternSet(traces, subjects), ScanReporter(), set[int]()
    said = {*words_of(manifest), *(database.said_in_pin if database else ())}
    patterns.learn({*(set(open_names) - patterns.ids - patterns.subjects), *said})
    patterns.learn(patterns.ids | patterns.subjects, longer=True)
    done = LiveRecordCheck(folder.store, manifest, patterns, report, shared).check()
    reached = {*manifest.objects(), *keep, *filter(None, [folder.current()])}
    reach = Reach(folder.store, frozenset(reached), frozenset(expected), frozenset(done))
    walk = Walk(folder, patterns, report, shared, reach)
    walk.workspace()
    for root in extra_roots:
        walk.outside(root)
    if database is not None:
        search_database(database, folder.root, patterns, report)
    elif (folder.root / FILE).exists() or (folder.root / "database").exists():
        with closing(Database.open(folder.root, None, create=False)) as opened:
            search_database(opened, folder.root, patterns, report)
    return report.finish(traces, patterns)


@dataclass(frozen=True)
class Reach:
    """What may be in the store. objects: reachable ones and those of work under way; expected: as
    of `scan`; done: those that are searched already."""

    store: Store
    objects: frozenset[StoredObject]
    expected: frozenset[Key]
    done: frozenset[StoredObject]

    def item(self, path: Location) -> StoredObject | None:
        """Return the object that a file of the store is, None where it may not be there."""
        kind, key, sha256 = path.parent.name, path.name[:64], path.name[65:129]
        item = StoredObject(kind, key, sha256)  # type: ignore[arg-type]
        known = item in self.objects or (kind, key) in self.expected
        return item if known and path == self.store.root / kind / Path(item.name).name else None


@dataclass(frozen=True)
class Walk:
    """Searches files. shared: windows that live records have too, by pattern: a reachable object
    may contain them."""

    folder: WorkspaceFolder
    patterns: PatternSet
    report: ScanReporter
    shared: Collection[int]
    reach: Reach

    def workspace(self) -> None:
        """Search every file of the workspace. A file that is no part of a workspace is a finding,
        whatever it holds."""
        names: dict[str, DataPlace | None] = {}
        for path, mode in walk(self.folder.root):
            name = name_below(path, self.folder.root)
            place, item = place_of(name), self.reach.item(path)
            if item is None:  # the name of an object consists of its kind and digests
                names[name] = place
            if stat.S_ISDIR(mode):
                continue
            if not stat.S_ISREG(mode) or not self._belongs(name, place, item):
                self.report.hit(place, self.patterns.masked(name), "stray file", None)
            if stat.S_ISREG(mode) and item not in self.reach.done and name not in (FILE, JOURNAL):
                self._file(path, name, place, item)
        self._names(names)

    def _belongs(self, name: str, place: DataPlace | None, item: StoredObject | None) -> bool:
        """Whether a file may be there: outside of the store as a part of a workspace; in the store
        as a reachable object, or as scratch of the command that holds the lock."""
        if not name.startswith("objects/"):
            return place is not None
        run = self.folder.store.run
        return item is not None or (run != "" and name.startswith(f"objects/tmp/{run}/"))

    def outside(self, root: Path) -> None:
        """Search every file below a session folder of Ray."""
        names: dict[str, DataPlace | None] = {}
        for path, mode in walk(root):
            name = name_below(path, root)
            names[name] = RAY_SESSION
            if stat.S_ISREG(mode):
                self._file(path, name, RAY_SESSION, None)
        self._names(names)

    def _file(
        self, path: Location, name: str, place: DataPlace | None, item: StoredObject | None
    ) -> None:
        """Search a file. Pictures and features only for binary patterns: text in a picture is of
        its camera."""
        texts = item is None or item.kind not in ("pictures", "features")
        with suppress(FileNotFoundError):  # gone meanwhile
            for match in self.patterns.search.in_file(path, texts=texts):
                own = item is not None and match.pattern in self.shared
                if own or self.patterns.explained(match) or self._in_header(match, path, item):
                    self.report.explained += 1
                else:
                    self._hit(place, name, match, self.patterns.trace(match))
            self.report.count(place, path.stat().st_size)

    def _in_header(self, match: Match, path: Location, item: StoredObject | None) -> bool:
        """Whether an id is a word in the header of a file of tensors, which names them."""
        if item is None or item.kind not in TENSORS or not self.patterns.is_text(match):
            return False
        with opened(path) as fill:
            head = memoryview(bytearray(8))
            fill(head, 0)
            size = min(int.from_bytes(head, "little"), LONGEST_HEADER)
            header = memoryview(bytearray(size))
            fill(header, 8)
        words = strings_of_header(bytes(header))
        return 8 <= match.at < 8 + size and self.patterns.is_within(match, words)

    def _hit(self, place: DataPlace | None, name: str, match: Match, trace: str) -> None:
        """Report a match in a file."""
        owners = self.patterns.owners(match.pattern)
        self.report.hit(place, self.patterns.masked(name), trace, owners)

    def _names(self, names: dict[str, DataPlace | None]) -> None:
        """Search the names of files and folders."""
        listed = list(names)
        texts = [name.encode(errors="surrogateescape") for name in listed]
        starts = [0, *accumulate(len(text) + 1 for text in texts)]
        for match in self.patterns.search.in_bytes(b"\n".join(texts)):
            if not self.patterns.explained(match):
                name = listed[bisect_right(starts, match.at) - 1]
                trace = f"{self.patterns.trace(match)} in a file's name"
                self._hit(names[name], name, match, trace)
