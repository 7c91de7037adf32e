"""A disk that loses power: which trees POSIX allows to be found after a crash.

Every operation has effects. An effect is certain once whatever it belongs to was synced after it: a
name to its folder, bytes and size to their file. Until then it may be there or not, whatever
became of others: bytes block by block, so that a write is torn or its blocks change places, and a
file may have grown (by zeros) without its bytes. A rename within one folder is one effect; into
another folder it is a new name and, if that is there, the loss of the old.

    disk = VolatileDisk(base, operations)
    for state in disk.states(): state.tree   path -> bytes, or None for a folder
"""

import hashlib
import itertools
import random
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.system_calls import Operation

BLOCK = 4096
EXHAUSTIVE = 6
"""Up to so many uncertain effects, all of their subsets are tried."""
TOP = 0
Tree = dict[str, bytes | None]


@dataclass(frozen=True)
class Effect:
    """What one operation did to one thing. thing: the number of the folder or file that a sync has
    to name; names: names of a folder that now stand for something else, or (None) for nothing; at,
    data: bytes of a file; size: the least size of a file, or what it is cut to; needs: the number
    of an effect without which this one cannot be there."""

    moment: int
    thing: int
    names: tuple[tuple[str, int | None], ...] = ()
    at: int = 0
    data: bytes = b""
    grown: int | None = None
    cut: int | None = None
    needs: int | None = None


@dataclass(frozen=True)
class CrashState:
    """What may be found. moment: how many operations there were; lost: the numbers of the effects
    that are not there; told: what was acknowledged before."""

    moment: int
    lost: tuple[int, ...]
    told: tuple[str, ...]
    tree: Tree = field(repr=False)

    @property
    def digest(self) -> str:
        """Of the tree."""
        parts = sorted(
            (path, "" if data is None else hashlib.sha256(data).hexdigest())
            for path, data in self.tree.items()
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def tree_of(folder: Path) -> Tree:
    """What is below a folder now."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def write_tree(tree: Tree, folder: Path) -> None:
    """Make these files and folders below a new folder."""
    folder.mkdir(mode=0o700, parents=True)
    for path, data in sorted(tree.items()):
        if data is None:
            (folder / path).mkdir(mode=0o700)
        else:
            (folder / path).write_bytes(data)
            (folder / path).chmod(0o600)


class VolatileDisk:
    """A tree that is certain, and what was done to it."""

    def __init__(self, base: Tree, operations: Sequence[Operation]) -> None:
        self.base: dict[int, dict[str, int]] = {TOP: {}}
        self.bytes: dict[int, bytes] = {}
        self.effects: list[Effect] = []
        self.syncs: list[tuple[int, int]] = []
        """When something was synced: the moment, and the thing."""
        self.told: list[tuple[int, str]] = []
        self.operations = operations
        self._count = itertools.count(1)
        for path, data in sorted(base.items()):
            folder, name = self._place(self.base, path)
            self.base[folder][name] = thing = next(self._count)
            if data is None:
                self.base[thing] = {}
            else:
                self.bytes[thing] = data
        self._now = {thing: dict(names) for thing, names in self.base.items()}
        self._nameless: dict[str, int] = {}
        self._sizes = {thing: len(data) for thing, data in self.bytes.items()}
        for moment, operation in enumerate(operations):
            self._do(moment, operation)

    @staticmethod
    def _place(names: Mapping[int, Mapping[str, int]], path: str) -> tuple[int, str]:
        """The folder that a path's last name is in, and this name."""
        *parents, name = Path(path).parts
        folder = TOP
        for parent in parents:
            folder = names[folder][parent]
        return folder, name

    def _thing(self, path: str) -> int | None:
        if path == ".":
            return TOP
        folder, name = self._place(self._now, path)
        return self._now[folder].get(name) or self._nameless.get(path)

    def _do(self, moment: int, operation: Operation) -> None:
        """Note the effects of one operation."""
        kind, path = operation.kind, operation.path
        if kind == "note":
            self.told.append((moment, operation.data.decode()))
        elif kind == "sync":
            thing = self._thing(path)
            if thing is not None:
                self.syncs.append((moment, thing))
        elif kind in ("write", "truncate"):
            self._change_bytes(moment, operation)
        elif kind == "nameless":
            self._nameless[path] = thing = next(self._count)
            self._sizes[thing] = 0
        elif kind in ("mkdir", "create"):
            if self._thing(path) is None:
                thing = next(self._count)
                self._sizes[thing] = 0
                if kind == "mkdir":
                    self._now[thing] = {}
                self._name(moment, path, thing)
        elif kind in ("unlink", "rmdir"):
            self._name(moment, path, None)
        else:
            self._rename(moment, operation)

    def _change_bytes(self, moment: int, operation: Operation) -> None:
        thing = self._thing(operation.path)
        if thing is None:
            return  # a file without a name: nobody finds it again
        at, data = operation.at, operation.data
        if operation.kind == "truncate":
            if at != self._sizes[thing]:
                self.effects.append(Effect(moment, thing, cut=at))
                self._sizes[thing] = at
            return
        if at + len(data) > self._sizes[thing]:
            self._sizes[thing] = at + len(data)
            self.effects.append(Effect(moment, thing, grown=at + len(data)))
        while data:
            room = BLOCK - at % BLOCK
            self.effects.append(Effect(moment, thing, at=at, data=data[:room]))
            at, data = at + room, data[room:]

    def _name(self, moment: int, path: str, thing: int | None, needs: int | None = None) -> int:
        """A name stands for something else now. Returns the effect's number."""
        folder, name = self._place(self._now, path)
        self._set(folder, name, thing)
        self.effects.append(Effect(moment, folder, names=((name, thing),), needs=needs))
        return len(self.effects) - 1

    def _set(self, folder: int, name: str, thing: int | None) -> None:
        if thing is None:
            self._now[folder].pop(name, None)
        else:
            self._now[folder][name] = thing

    def _rename(self, moment: int, operation: Operation) -> None:
        thing = self._thing(operation.path)
        assert thing is not None, operation
        (source, old), (target, new) = (
            self._place(self._now, path) for path in (operation.path, operation.to)
        )
        if operation.kind == "link":
            self._name(moment, operation.to, thing)
        elif self._now[target].get(new) == thing:
            return  # two names of one file: rename(2) does nothing
        elif source == target:
            self._set(source, old, None)
            self._set(target, new, thing)
            self.effects.append(Effect(moment, source, names=((old, None), (new, thing))))
        else:
            made = self._name(moment, operation.to, thing)
            self._name(moment, operation.path, None, needs=made)

    def moments(self) -> Iterator[int]:
        """The moments of a crash that need a look: before each sync, and at the end. A crash before
        then is one of these that loses what came later."""
        for moment, operation in enumerate(self.operations):
            if operation.kind == "sync":
                yield moment
        yield len(self.operations)

    def uncertain(self, moment: int, *, unsynced: Container[int] = ()) -> list[int]:
        """The numbers of the effects of the operations before `moment` that may be lost. unsynced:
        the moments of syncs that are not made."""
        last: dict[int, int] = {}
        for at, thing in self.syncs:
            if at < moment and at not in unsynced:
                last[thing] = at
        kept: set[int] = set()
        for number, effect in enumerate(self.effects):
            if effect.moment < moment and last.get(effect.thing, -1) > effect.moment:
                kept |= {number, *([] if effect.needs is None else [effect.needs])}
        return [
            number
            for number, effect in enumerate(self.effects)
            if effect.moment < moment and number not in kept
        ]

    def tree(self, moment: int, lost: Iterable[int] = ()) -> Tree:
        """What is found after a crash before the operation `moment` that lost these effects."""
        without = set(lost)
        names = {thing: dict(found) for thing, found in self.base.items()}
        contents = {thing: bytearray(data) for thing, data in self.bytes.items()}
        for number, effect in enumerate(self.effects):
            if effect.moment >= moment:
                break
            if number not in without and effect.needs not in without:
                self._apply(effect, names, contents)
        found: Tree = {}

        def look(folder: int, prefix: str) -> None:
            for name, thing in names.get(folder, {}).items():
                path = f"{prefix}{name}"
                if thing in self._now:
                    found[path] = None
                    look(thing, f"{path}/")
                else:
                    found[path] = bytes(contents.get(thing, b""))

        look(TOP, "")
        return found

    @staticmethod
    def _apply(
        effect: Effect, names: dict[int, dict[str, int]], contents: dict[int, bytearray]
    ) -> None:
        if effect.names:
            folder = names.setdefault(effect.thing, {})
            for name, thing in effect.names:
                if thing is None:
                    folder.pop(name, None)
                else:
                    folder[name] = thing
            return
        data = contents.setdefault(effect.thing, bytearray())
        if effect.cut is not None:
            del data[effect.cut :]
            data.extend(bytes(effect.cut - len(data)))
        else:
            end = effect.grown or effect.at + len(effect.data)
            data.extend(bytes(max(0, end - len(data))))
            data[effect.at : effect.at + len(effect.data)] = effect.data

    def choices(self, moment: int, rng: random.Random, more: int) -> Iterator[tuple[int, ...]]:
        """Which effects are lost at a moment: every subset of a few; of many all, none, each
        alone, all but each, all after each, and `more` at random."""
        free = self.uncertain(moment)
        if len(free) <= EXHAUSTIVE:
            for size in range(len(free) + 1):
                yield from itertools.combinations(free, size)
            return
        yield from ((), tuple(free))
        for at, one in enumerate(free):
            yield from ((one,), tuple(other for other in free if other != one), tuple(free[at:]))
        for _ in range(more):
            chance = rng.random()
            yield tuple(one for one in free if rng.random() < chance)

    def choices_without(
        self, moment: int, syncs: Container[int], rng: random.Random
    ) -> Iterator[tuple[int, ...]]:
        """Which effects are lost only because these syncs are not made: each alone and all after
        each, with none, all and some of what may be lost anyway."""
        anyway = self.uncertain(moment)
        more = [one for one in self.uncertain(moment, unsynced=syncs) if one not in anyway]
        for at, one in enumerate(more):
            for lost in ((one,), tuple(more[at:])):
                yield from (lost, (*lost, *anyway))
                for _ in range(2):
                    chance = rng.random()
                    yield (*lost, *(other for other in anyway if rng.random() < chance))

    def states_without(self, syncs: Container[int], *, seed: int = 0) -> list[CrashState]:
        """States that are possible only where these syncs are not made, in an order drawn by the
        seed."""
        rng = random.Random(seed)
        tried = [
            (moment, lost)
            for moment in self.moments()
            for lost in self.choices_without(moment, syncs, rng)
        ]
        found = self._found(tried)
        rng.shuffle(found)
        return found

    def states(self, *, seed: int = 0, most: int | None = None, more: int = 8) -> list[CrashState]:
        """The states after a crash at each moment, each tree once, at the last moment at which it
        can be found: most was acknowledged then. most: try only so many choices, drawn by the
        seed."""
        rng = random.Random(seed)
        tried = [
            (moment, lost) for moment in self.moments() for lost in self.choices(moment, rng, more)
        ]
        if most is not None and most < len(tried):
            tried = [tried[at] for at in sorted(rng.sample(range(len(tried)), most))]
        return self._found(tried)

    def _found(self, tried: Sequence[tuple[int, tuple[int, ...]]]) -> list[CrashState]:
        """Each tree once, at the last moment."""
        found: dict[str, CrashState] = {}
        for moment, lost in tried:
            told = tuple(text for at, text in self.told if at < moment)
            state = CrashState(moment, lost, told, self.tree(moment, lost))
            found[state.digest] = state
        return list(found.values())
