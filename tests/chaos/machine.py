"""Runs a round: starts candidates, lets the faults strike, ends all in good order, and has it checked.

It imports nothing of the library.
"""

from __future__ import annotations

import collections
import contextlib
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.chaos import checker
from tests.chaos.checker import Bounds, Event
from tests.chaos.faults import EVERYWHERE, LEADER, OF_FILES, OF_PROGRAMS, OF_SERVERS, Fault, Schedule
from tests.chaos.laboratory import MemoryGroup, SmallDisk, kill
from tests.chaos.orders import Order
from tests.chaos.page import LEADS, LEAK, Page, Slot, build
from tests.chaos.programs import COMMANDS, ROOT, children, processes_of, start_time
from tests.chaos.undoing import Undoing

PATIENCE = 60.0
"""Seconds after which a candidate that should lead hangs, on the slowest machine."""
HOG = 24
"""Megabytes of a memory hog; the group has half of that."""
ORDERS = {
    "fork": Order.FORK,
    "exec": Order.EXEC,
    "fork-exec": Order.FORK_EXEC,
    "emfile": Order.EMFILE,
    "closerange": Order.CLOSERANGE,
    "cancel": Order.CANCEL,
    "green": Order.GREEN,
    "resign": Order.RESIGN,
}
SIGNALS = {"int": signal.SIGINT, "alarm": signal.SIGALRM}
SPARED = {"closerange": ("aio", "green")}
"""Their loops cannot lose their own descriptors, with leaderlock or without it."""
KINDS = EVERYWHERE | OF_FILES | OF_SERVERS


class Result(NamedTuple):
    """What came of a round.

    Attributes:
        struck: how often each fault has struck.
        violations: what was wrong.
        terms: how many there were.
        gaps: nanoseconds, each time that nobody led.
        lag: seconds that the machine waited for a processor at most.
    """

    struck: dict[str, int]
    violations: list[str]
    terms: int
    gaps: list[int]
    lag: float


class Machine:
    """One round.

    Args:
        schedule: what to do.
        may_mount: whether a small file system can be mounted.
        bounds: of the checker.
        drains: whether each candidate has to lead and to go in the end.
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        may_mount: bool,
        bounds: Bounds | None = None,
        drains: bool = True,
    ) -> None:
        self._drains = drains
        self.schedule = schedule
        self.bounds = bounds or Bounds()
        self.may_mount = may_mount
        self.events: list[Event] = []
        self.struck: collections.Counter[str] = collections.Counter()
        self.pids: dict[int, int] = {}
        self.out: set[int] = set()
        self.lag = 0.0
        self.problems: list[str] = []
        self._sessions: set[int] = set()
        self._undoing = Undoing()
        self._garbage_since = 0.0
        self._watched: dict[int, tuple[int, int]] = {}  # pidfd: candidate, PID
        self._poll = select.poll()
        self._zygotes: dict[str, subprocess.Popen[bytes]] = {}
        self._programs: list[subprocess.Popen[bytes]] = []

    # processes

    @contextlib.contextmanager
    def _set_up(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
            self.directory = directory
            library = build(directory)
            self.page = Page(directory / "page", library)
            self.disk: SmallDisk | None = None
            if self.schedule.place == "tmpfs" and self.may_mount:
                self.disk = SmallDisk(directory / "small")
                stack.callback(self.disk.close)
            self.lock = (self.disk.directory if self.disk else directory) / "leader.lock"
            self.group = MemoryGroup(directory.name)
            stack.callback(self.group.close)
            stack.callback(self._end_all)
            self._environment = {
                **os.environ,
                "CHAOS_PAGE": str(directory / "page"),
                "CHAOS_LIBRARY": str(library),
                "CHAOS_LOCK": str(self.lock),
                "CHAOS_GROUP": self.group.processes,
                "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
                "PYTHONDONTWRITEBYTECODE": "1",
            }
            yield

    def _zygote(self, flavour: str) -> subprocess.Popen[bytes]:
        if flavour not in self._zygotes:
            command = [sys.executable, "-m", "tests.chaos.zygote", flavour]
            command += [self._environment["CHAOS_PAGE"], self._environment["CHAOS_LIBRARY"]]
            self._zygotes[flavour] = zygote = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=self._environment,
                cwd=ROOT,
                start_new_session=True,
                bufsize=0,
            )
            self._sessions.add(zygote.pid)
        return self._zygotes[flavour]

    def _ask(self, flavour: str, request: str) -> int:
        zygote = self._zygote(flavour)
        assert zygote.stdin is not None
        assert zygote.stdout is not None
        zygote.stdin.write(f"{request}\n".encode())
        answer = zygote.stdout.readline()
        if not answer:
            raise RuntimeError(f"a zygote has ended: {zygote.wait()}")
        return int(answer)

    def _spawn(self, who: int) -> None:
        kind = self.schedule.candidates[who]
        if kind in COMMANDS:
            program = subprocess.Popen(
                COMMANDS[kind](self.directory, who, self.lock),
                env={**self._environment, "CHAOS_WHO": str(who), "CHAOS_SERVER": kind},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if "CHAOS_LOG" in os.environ else subprocess.DEVNULL,
                start_new_session=True,
            )
            self._sessions.add(program.pid)
            self._programs.append(program)
            pid = program.pid
        else:
            flavour = "green" if kind == "green" else "plain"
            pid = self._ask(flavour, f"{kind} {who} {self.lock}")
        self.pids[who] = pid
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            self.pids.pop(who)
            return
        self._watched[fd] = (who, pid)
        self._poll.register(fd, select.POLLIN)

    def _see_deaths(self, seconds: float) -> None:
        """Wait, and start again who has died."""
        for fd, _ in self._poll.poll(seconds * 1000):
            self._poll.unregister(fd)
            os.close(fd)
            who, pid = self._watched.pop(fd)
            if self.pids.get(who) == pid:
                del self.pids[who]
        for program in list(self._programs):
            if program.poll() is not None:
                self._programs.remove(program)
        for who in range(len(self.schedule.candidates)):
            if who not in self.pids and who not in self.out:
                self._spawn(who)

    def _end_all(self) -> None:
        """Kill whatever was started here, and wait for it."""
        until = time.monotonic() + PATIENCE
        while alive := processes_of(self._sessions):
            for pid in alive:
                kill(pid)
            if time.monotonic() > until:
                raise RuntimeError(f"{alive} do not end")
            time.sleep(0.002)
        for process in (*self._zygotes.values(), *self._programs):
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        for fd in self._watched:
            os.close(fd)
        self._watched.clear()
        # A group counts a process until that is reaped, by PID 1 perhaps.
        if self.group.path is not None:
            while (self.group.path / "cgroup.procs").read_text(encoding="ascii"):
                time.sleep(0.002)

    # time

    def _pass(self, seconds: float) -> None:
        """Let time pass; meanwhile undo what is due, and start again who has died."""
        until = time.monotonic() + seconds
        while True:
            self._undoing.run_due(time.monotonic())
            due = min(until, self._undoing.next_due())
            before = time.monotonic()
            wait = max(due - before, 0)
            self._see_deaths(wait)
            self.lag = max(self.lag, time.monotonic() - before - wait)
            self._mend_garbage()
            if time.monotonic() >= until:
                return

    # who leads

    def _leader(self) -> Slot | None:
        """Who leads now, if that process lives."""
        used = self.page.used
        for index in range(used - 1, max(used - 20, -1), -1):
            slot = self.page.slot(index)
            if slot is None or slot.kind != LEADS or slot.left:
                continue
            started = start_time(slot.pid)
            if started and (not slot.started or slot.started == started) and self._is_mine(slot.pid):
                return slot
        return None

    def _is_mine(self, pid: int) -> bool:
        try:
            return os.getsid(pid) in self._sessions
        except ProcessLookupError:
            return False

    # faults

    def _log(self, what: str, who: int, pid: int, begun: int) -> None:
        self.events.append(Event(time.monotonic_ns(), what, who, pid, begun))

    def _aim(self, fault: Fault) -> tuple[int, int]:
        """The number and the process of whom the fault strikes; the process is 0 if it has gone."""
        able = KINDS[fault.name].targets
        spared = SPARED.get(fault.name, ())
        candidates = self.schedule.candidates
        who, pid = fault.target, 0
        if who == LEADER:
            slot = self._leader()
            who, pid = (slot.who, slot.pid) if slot is not None else (0, 0)
        known = (*able, *(k for k in candidates if k not in OF_PROGRAMS and k not in EVERY_KIND))
        for n in range(len(candidates)):
            other = (who + n) % len(candidates)
            if candidates[other] in known and candidates[other] not in spared:
                break
        else:
            return who, 0
        if other != who or not pid:
            who, pid = other, self.pids.get(other, 0)
            if candidates[who] in ("gunicorn", "uwsgi") and fault.name in ("kill", "stop") and pid:
                workers = children(pid) or [0]
                pid = workers[fault.wait % len(workers)]
            elif fault.name == "kill-command" and pid:
                pid = (children(pid) or [0])[0]
        elif candidates[who] == "run" and fault.name == "kill" and fault.wait % 2:
            pid = self.pids.get(who, 0)
        return who, pid

    def _strike(self, fault: Fault) -> None:
        begun = time.monotonic_ns()
        name = fault.name
        if name == "pause":
            return
        if name in ("enospc", "memory", "starve", *OF_FILES) and name != "closerange":
            if self._strike_machine(fault):
                self.struck[name] += 1
                self._log(name, -1, 0, begun)
            return
        who, pid = self._aim(fault)
        if not pid or not self._is_mine(pid):
            return
        kind = self.schedule.candidates[who]
        if name in ("kill", "kill-command", "kill-master"):
            done = kill(self.pids.get(who, 0) or pid if name == "kill-master" else pid)
            what = "kill run" if kind == "run" and pid == self.pids.get(who) else name
            self._log(what, who, pid, begun)
        elif name in ("stop", "stop-long"):
            done = kill(pid, signal.SIGSTOP)
            started = start_time(pid)
            self._log("stop", who, pid, begun)
            self._undoing.later(fault.lasts, lambda: self._continue(who, pid, started))
        elif name == "reload":
            done = kill(self.pids[who], signal.SIGHUP) if who in self.pids else False
        elif name in SIGNALS:
            done = kill(pid, SIGNALS[name])
        else:
            # Logged before it strikes: a window opens here.
            self._log(name, who, pid, begun)
            self.page.command(who, ORDERS[name], fault.lasts)
            done = True
        self.struck[name] += done

    def _continue(self, who: int, pid: int, started: int) -> None:
        begun = time.monotonic_ns()
        if start_time(pid) == started and self._is_mine(pid):
            kill(pid, signal.SIGCONT)
            self._log("continue", who, pid, begun)

    def _strike_machine(self, fault: Fault) -> bool:
        """A fault that strikes no process by itself; False if it cannot be had here."""
        if fault.name == "enospc":
            if self.disk is None:
                return False
            self.disk.fill()
            self._undoing.later(fault.lasts, self.disk.empty)
        elif fault.name == "memory":
            if self.group.path is None:
                return False
            self.group.squeeze(HOG // 2)
            self._ask("plain", f"greedy {HOG}")
            self._undoing.later(fault.lasts, self.group.release)
        elif fault.name == "starve":
            for _ in range(os.cpu_count() or 1):
                self._ask("plain", f"busy {fault.lasts}")
        elif fault.name == "delete":
            self.lock.unlink(missing_ok=True)
        elif fault.name == "replace":
            new = self.lock.with_name("new.lock")
            new.touch(0o600)
            new.rename(self.lock)
        else:
            try:
                fd = os.open(self.lock, os.O_WRONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return False
            try:
                if fault.name == "truncate":
                    os.ftruncate(fd, fault.wait % 3 * 20)
                else:
                    os.pwrite(fd, b"garbage\x00\xff" * (1 + fault.wait % 60), 0)
                self._garbage_since = time.monotonic()
            finally:
                os.close(fd)
        return True

    def _mend_garbage(self) -> None:
        """Remove a lock file that nobody could mend, as the library's message tells an operator to do.

        That is: nobody has led since a second after it was overwritten.
        """
        if not self._garbage_since or time.monotonic() < self._garbage_since + 1:
            return
        slots = self.page.slots(max(self.page.used - 20, 0))
        latest = max((slot.last for slot in slots), default=0) / 1e9
        if latest > self._garbage_since + 0.5 and time.monotonic() - latest < 1:
            self._garbage_since = 0.0
        elif time.monotonic() - latest > 1:
            begun = time.monotonic_ns()
            self.lock.unlink(missing_ok=True)
            self._log("delete", -1, 0, begun)
            self.struck["removed by the operator"] += 1
            self._garbage_since = time.monotonic()

    # the round

    def run(self) -> Result:
        with self._set_up():
            begun = time.monotonic()
            self._see_deaths(0)
            self._until(lambda: self._leader() is not None, "no candidate has led at the beginning")
            start = int((time.monotonic() - begun) * 1e9)
            for fault in self.schedule.faults:
                self._pass(fault.wait / 1000)
                self._strike(fault)
            self._undoing.run_due(math.inf)
            end = time.monotonic_ns()
            if self._drains:
                self._drain()
            slots = self.page.slots()
            bounds = self.bounds
            if bounds.grow:
                bounds = bounds._replace(lag=int(self.lag * 1e9), start=start)
            wrong = checker.violations(slots, self.events, end, bounds) + self.problems
            terms = checker.terms_of(slots)
            return Result(dict(self.struck), wrong, len(terms), checker.gaps(terms), self.lag)

    def _until(self, condition: Callable[[], bool], problem: str) -> bool:
        until = time.monotonic() + PATIENCE
        while not condition():
            self._pass(0.005)
            if time.monotonic() > until:
                self.problems.append(problem)
                return False
        return True

    def _drain(self) -> None:
        """Let each candidate lead in turn, and go: so none hangs. Each says what it has left open."""
        left = set(range(len(self.schedule.candidates)))
        while left:
            since = time.monotonic_ns()

            def leads(since: int = since) -> bool:
                slot = self._leader()
                return slot is not None and slot.who in left and slot.last > since

            if not self._until(leads, f"hung: none of {self._names(left)} leads"):
                return
            slot = self._leader()
            if slot is None or slot.who not in left:
                continue
            who = slot.who
            self.out.add(who)
            if not (self._end_program(who) if who in self._programs_left() else self._dismiss(who)):
                return
            left.discard(who)
        self._look_for_leftovers()

    def _names(self, left: set[int]) -> list[str]:
        return [f"{who} {self.schedule.candidates[who]} ({self.pids.get(who)})" for who in sorted(left)]

    def _programs_left(self) -> set[int]:
        return {who for who, kind in enumerate(self.schedule.candidates) if kind in COMMANDS}

    def _end_program(self, who: int) -> bool:
        pid = self.pids.get(who)
        if pid is None:
            return True
        kill(pid, signal.SIGTERM)
        return self._until(lambda: who not in self.pids, f"hung: {self._names({who})} at TERM")

    def _dismiss(self, who: int) -> bool:
        name = self._names({who})
        number = self.page.command(who, Order.QUIT)

        def has_answered() -> bool:
            if who not in self.pids:  # a late kill: another one is not wanted
                return True
            return self.page.answered(who)[0] == number

        if not self._until(has_answered, f"hung: {name} does not quit"):
            return False
        if who in self.pids:
            _, (_, fds, threads, fds_before, threads_before) = self.page.answered(who)
            if fds > fds_before + LEAK:
                self.problems.append(f"leak: {name} has {fds} descriptors, {fds_before} before")
            if threads > threads_before:
                self.problems.append(f"leak: {name} has {threads} threads, {threads_before} before")
        return not self.problems

    def _look_for_leftovers(self) -> None:
        """No process is left but the zygotes and those that have answered, and nobody has the lock."""
        expected = {zygote.pid for zygote in self._zygotes.values()} | set(self.pids.values())
        self._until(
            lambda: processes_of(self._sessions) <= expected,
            "leak: a process is left",
        )
        with contextlib.suppress(FileNotFoundError):
            inode = os.stat(self.lock).st_ino
            lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
            held = [line for line in lines if line.split()[-3].endswith(f":{inode}")]
            mine = [line for line in held if any(f" {pid} " in line for pid in expected)]
            self.problems += [f"leak: the lock is held at the end: {line}" for line in mine]


EVERY_KIND = ("thread", "leased", "main", "lock", "aio", "green", "run", "gunicorn", "uwsgi")
