"""Processes in one thread: greenlets that are switched only where they would touch the world.

    point ─► the fault that is due there ─► a little time passes ─► whoever is due goes on

Time is the machine's own. A process that was killed runs its `finally` clauses, as a greenlet must,
but every further point raises `Killed` again, so that nothing of it reaches the world any more.
"""

import errno
import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import greenlet

COST = 0.002
"""Seconds that a point takes."""
DISK = "disk"


class Killed(BaseException):
    """Ends a process at once: no `except Exception` stops it."""


@dataclass(frozen=True)
class Fault:
    """What happens when the processes of a slot come to their n-th point of a sort.

    sort: how the name of the point begins; empty for any.

    kind: kill (the process dies), power (all die, and what was not synced is lost), pause (it is
    stopped for some seconds), cut (so too, and a lock that it holds is lost), stale (it reads the
    pointer as it was before for some seconds), error, full (the disk fails at this point).
    """

    slot: str
    point: int
    kind: str
    seconds: float = 0.0
    sort: str = ""


class Process(greenlet.greenlet):
    """A process, or a thread of one. slot: what it is started as, again and again."""

    def __init__(
        self, machine: "Machine", slot: str, act: Callable[[], object], of: "Process|None"
    ):
        super().__init__(self._live, machine.hub)
        self.machine, self.slot, self.act, self.of = machine, slot, act, of
        self.alive, self.token, self.stopped_until, self.stale_until = True, 0, 0.0, 0.0
        self.on_death: list[Callable[[], object]] = []
        self.on_cut: list[Callable[[], object]] = []
        self.ended = False

    def _live(self) -> None:
        try:
            if self.alive:
                self.act()
        except Killed:
            pass
        except BaseException as error:
            self.machine.defects.append((self.slot, error))
        finally:
            self.alive, self.ended = False, True

    @property
    def whole(self) -> "Process":
        """The process that a thread is of."""
        return self.of.whole if self.of else self


class Machine:
    """All processes, their clock, and the faults that strike them."""

    def __init__(self, faults: list[Fault]) -> None:
        self.hub = greenlet.getcurrent()
        self.now, self.points = 0.0, dict[str, int]()
        self.defects: list[tuple[str, BaseException]] = []
        self.told: list[tuple[float, str]] = []
        self.lose_power: Callable[[], object] = lambda: None
        self._faults = {(fault.slot, fault.sort, fault.point): fault for fault in faults}
        self._sorts = {fault.sort for fault in faults} - {""}
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._count, self._atomic, self._observing = 0, 0, False
        self._all: list[Process] = []
        self.calm = False
        """Whether no fault strikes any more."""

    @property
    def current(self) -> Process | None:
        """The process that runs; None for the simulation itself."""
        found = None if self._observing else greenlet.getcurrent()
        return found if isinstance(found, Process) else None

    @contextmanager
    def observing(self) -> Iterator[None]:
        """Look at the world without being a part of it: no point counts within."""
        before, self._observing = self._observing, True
        try:
            yield
        finally:
            self._observing = before

    def tell(self, text: str) -> None:
        """Note something for the story of this run."""
        me = self.current
        self.told.append((self.now, f"{me.slot}: {text}" if me else text))

    def at(self, when: float, call: Callable[[], object]) -> None:
        """Have something happen at a moment, in the order in which it was asked for."""
        self._count += 1
        heapq.heappush(self._events, (max(when, self.now), self._count, call))

    def step(self) -> bool:
        """Let the next thing happen. Returns False where nothing is left."""
        if not self._events:
            return False
        when, _, call = heapq.heappop(self._events)
        self.now = max(self.now, when)
        call()
        return True

    def start(self, slot: str, act: Callable[[], object], *, of: Process | None = None) -> Process:
        """Start a process, or a thread of one."""
        made = Process(self, slot, act, of)
        self._all = [each for each in self._all if not each.ended] + [made]
        self.at(self.now, lambda: self._resume(made, 0))
        return made

    def _resume(self, process: Process, token: int) -> None:
        if process.ended or (process.token != token and process.alive):
            return
        if process.alive and process.whole.stopped_until > self.now:
            self.at(process.whole.stopped_until, lambda: self._resume(process, token))
            return
        process.token += 1
        process.switch()

    def sleep(self, seconds: float) -> None:
        """Let others run, at least so many seconds."""
        me = self.current
        if me is None:
            self.now += seconds
            return
        if not me.alive:
            raise Killed
        if self._atomic:
            raise RuntimeError("a process slept within a transaction")
        self.wake(me, self.now + seconds)
        self.hub.switch()
        if not me.alive:
            raise Killed

    def wake(self, process: Process, when: float) -> None:
        """Let a process that sleeps go on at a moment, if it has not gone on before."""
        token = process.token
        self.at(when, lambda: self._resume(process, token))

    def busy(self, slots: set[str]) -> bool:
        """Whether a process of one of these slots runs."""
        return any(each.slot in slots and not each.ended for each in self._all)

    def kill(self, process: Process) -> None:
        """End a process with its threads."""
        for each in [each for each in self._all if each.whole is process.whole and each.alive]:
            each.alive = False
            for call in each.on_death:
                call()
            if each is not self.current:
                self.wake(each, self.now)

    def end(self) -> None:
        """End everything that runs, for the next simulation."""
        self._events.clear()
        self._atomic = 0
        for each in self._all:
            if not each.ended:
                each.alive = False
                if each:  # has begun
                    each.switch()
        self._events.clear()

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Let nobody else run within."""
        self._atomic += 1
        try:
            yield
        finally:
            self._atomic -= 1

    def point(self, kind: str) -> None:
        """Where a process touches the world: faults strike here, and others may run. Errors:
        `OSError` of a fault of the disk."""
        me = self.current
        if me is None:
            return
        if not me.alive:
            raise Killed
        self.now += COST
        slot = me.slot
        self.points[slot] = count = self.points.get(slot, 0) + 1
        fault = self._faults.get((slot, "", count))
        for sort in self._sorts:
            if kind.startswith(sort):
                name = f"{slot} {sort}"
                self.points[name] = nth = self.points.get(name, 0) + 1
                fault = fault or self._faults.get((slot, sort, nth))
        if fault and not self.calm:
            self._strike(me, fault, kind)
        if not self._atomic and self._events and self._events[0][0] <= self.now:
            self.sleep(0.0)

    def _strike(self, me: Process, fault: Fault, kind: str) -> None:
        if fault.kind in ("error", "full") and not kind.startswith(DISK):
            return
        seconds = f" {fault.seconds:g} s" if fault.seconds else ""
        self.tell(f"*** {fault.kind}{seconds} at {fault.sort or 'point'} {fault.point} ({kind})")
        match fault.kind:
            case "kill":
                self.kill(me)
                raise Killed
            case "power":
                for each in list(self._all):
                    if each.alive:
                        self.kill(each)
                self.lose_power()
                raise Killed
            case "pause" | "cut":
                me.whole.stopped_until = self.now + fault.seconds
                if fault.kind == "cut":
                    for call in me.whole.on_cut:
                        call()
                if not self._atomic:
                    self.sleep(fault.seconds)
            case "stale":
                me.whole.stale_until = self.now + fault.seconds
            case _:
                number = errno.EIO if fault.kind == "error" else errno.ENOSPC
                raise OSError(number, "a simulated fault of the disk")


class Signal:
    """`threading.Event` on the machine's clock."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self._set = machine, False
        self._waiting: list[tuple[Process, int]] = []

    def set(self) -> None:
        """Wake who waits."""
        self._set = True
        for process, token in self._waiting:
            if process.token == token:
                self._machine.wake(process, self._machine.now)
        self._waiting.clear()

    def is_set(self) -> bool:
        """As the standard library's."""
        return self._set

    def wait(self, seconds: float) -> bool:
        """As the standard library's."""
        me = self._machine.current
        if me and not self._set:
            self._waiting.append((me, me.token))
            self._machine.sleep(seconds)
        return self._set


class Threads:
    """What the lease takes from `threading`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def Event(self) -> Signal:  # noqa: N802 - as the standard library names it
        """A signal."""
        return Signal(self._machine)

    def Thread(self, *, target: Callable[[], object], name: str, daemon: bool) -> "Thread":  # noqa: N802
        """A thread of the process that starts it."""
        return Thread(self._machine, target, name)


class Thread:
    """`threading.Thread` as a greenlet."""

    def __init__(self, machine: Machine, target: Callable[[], object], name: str) -> None:
        self._machine, self._target, self._name = machine, target, name
        self._process: Process | None = None

    def start(self) -> None:
        """Start it beside the process that runs."""
        me = self._machine.current
        assert me
        self._process = self._machine.start(f"{me.slot} {self._name}", self._target, of=me)

    def join(self) -> None:
        """Wait for its end."""
        while self._process and not self._process.ended:
            self._machine.sleep(0.01)
