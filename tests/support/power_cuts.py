"""Record what an act does to the disk, cut the power at each moment, and look at what is left.

recorded(act, folder) ─► Recording ─► states, with all syncs or without some ─► faults
"""

import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from lmeraser_ray.errors import LmeraserError
from tests.support.system_calls import Operation, operations_below, traced
from tests.support.volatile_disk import CrashState, Tree, VolatileDisk, tree_of, write_tree

Expect = Callable[[Path, Sequence[str]], None]
"""Recovers what is in a folder with the real code, and errors where something that was told before
the crash is not so."""
NAMES = (
    (re.compile(r"\d+-[0-9a-f]{16}"), "TEMPORARY"),
    (re.compile(r"[0-9a-f]{64}(-[0-9a-f]{64})?"), "KEY"),
    (re.compile(r"[0-9a-f]{16}"), "RUN"),
    (re.compile(r"objects/[a-z]+/KEY\.[a-z]+"), "objects/KIND/KEY"),
    (re.compile(r"objects/(?!tmp)[a-z]+$"), "objects/KIND"),
)


@dataclass(frozen=True)
class Recording:
    """What an act did in a folder. base: what was there before."""

    base: Tree
    operations: tuple[Operation, ...]

    def disk(self) -> VolatileDisk:
        """The disk."""
        return VolatileDisk(self.base, self.operations)

    def syncs(self) -> dict[str, set[int]]:
        """The moments of each kind of sync: what was synced, and after what."""
        found, last = defaultdict[str, set[int]](set), ""
        for at, operation in enumerate(self.operations):
            path = general(operation.to or operation.path)
            if operation.kind == "sync":
                found[f"{path} after {last}"].add(at)
            elif operation.kind != "note":
                last = f"{operation.kind} {path}"
        return found


def general(path: str) -> str:
    """A path without what differs from run to run."""
    for pattern, name in NAMES:
        path = pattern.sub(name, path)
    return path


def recorded(
    folder: Path,
    acts: Mapping[str, Path | None],
    *,
    module: str = "tests.support.crash_acts",
    environment: Mapping[str, str] | None = None,
) -> dict[str, Recording]:
    """Run acts of a module in one process, each in a folder of its name: a new
    one, or a copy of the one that is given."""
    for act, base in acts.items():
        if base:
            shutil.copytree(base, folder / act)
        else:
            (folder / act).mkdir(mode=0o700)
    before = {act: tree_of(folder / act) for act in acts}
    lines = traced(folder, module, str(folder), *acts, environment=environment)
    found = {}
    for act in acts:
        found[act] = Recording(before[act], operations_below(folder / act, lines))
        disk = found[act].disk()
        assert disk.tree(len(disk.operations)) == tree_of(folder / act), "something was not seen"
    return found


def faults(
    states: Sequence[CrashState], expect: Expect, folder: Path
) -> Iterator[tuple[CrashState, Exception]]:
    """Each state that is not as it should be, and why."""
    numbers = count()
    for state in states:
        root = folder / f"state-{next(numbers)}"
        write_tree(state.tree, root)
        try:
            expect(root, state.told)
        except (AssertionError, LmeraserError, RuntimeError, OSError, ValueError) as error:
            yield state, error
        finally:
            shutil.rmtree(root)


def told_of(disk: VolatileDisk, state: CrashState) -> str:
    """The story of a crash: the last operations, and which of their effects were lost."""
    lines = [f"before operation {state.moment} of {len(disk.operations)}; lost:"]
    for number in state.lost:
        effect = disk.effects[number]
        operation = disk.operations[effect.moment]
        part = f"its size {effect.grown}" if effect.grown else f"{len(effect.data)} bytes"
        which = "" if effect.names else f" ({part} at {effect.at})"
        lines.append(f"  {effect.moment} {operation.kind} {operation.path} {operation.to}{which}")
    return "\n".join([*lines, f"told: {', '.join(state.told) or 'nothing'}"])
