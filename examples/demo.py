"""`make demo`: a real gunicorn whose leader is killed five times, and each takeover in milliseconds.

Ends by itself, with exit status 0 if every takeover came and there were never two leaders at once.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich import box
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.syntax import Syntax
from rich.table import Table

from leaderlock import LeaderLock

HERE = Path(__file__).resolve().parent
CONF = HERE / "demo_conf.py"
KILLS = 5
PAUSE = 1.5  # seconds between kills, for the eye; shorter where nobody watches
PATIENCE = 20.0

WHAT = (
    "Four gunicorn workers, one background job. Exactly one worker runs it: the leader. Now its worker "
    "is killed with SIGKILL, five times, and each time the kernel wakes the next one in the queue."
)


class DemoFailed(Exception):
    """What was promised did not happen."""


@dataclass(frozen=True, order=True)
class Event:
    """A line that a leader wrote: its first one, or a beat of its reporter."""

    clock: int  # ns of the monotonic clock, which all processes share
    pid: int
    term: int
    kind: str


@dataclass
class Takeover:
    """One kill of the leader, and who came next."""

    killed: int
    at: int
    successor: Event | None = None

    @property
    def milliseconds(self) -> float:
        return (self.successor.clock - self.at) / 1e6 if self.successor else float("nan")


@dataclass
class Story:
    """All that the demo has seen, written by its threads and read by its screen."""

    events: list[Event] = field(default_factory=list)
    takeovers: list[Takeover] = field(default_factory=list)
    leader: Event | None = None
    served: int = 0
    failed: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def listen(self, pipe: int) -> None:
        with os.fdopen(pipe, encoding="ascii") as lines:
            for line in lines:
                kind, pid, term, clock = line.split()
                event = Event(int(clock), int(pid), int(term), kind)
                with self.changed:
                    self.events.append(event)
                    if kind == "first":
                        self.leader = event
                        self.changed.notify_all()

    def next_leader(self, after: Event | None) -> Event:
        with self.changed:
            if self.changed.wait_for(lambda: self.leader is not after, PATIENCE) and self.leader:
                return self.leader
        raise DemoFailed(f"no worker leads after {PATIENCE:g} s")

    def request(self, address: str) -> None:
        """Ask the server for a page every 25 ms, as its users would all the while."""
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(PATIENCE)
                    client.connect(address)
                    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    ok = b" 200 " in client.makefile("rb").readline()
            except OSError:  # the worker that had taken the request was the one that was killed
                ok = False
            self.served += ok
            self.failed += not ok
            time.sleep(0.025)


@contextlib.contextmanager
def gunicorn(directory: Path, pipe: int) -> Iterator[psutil.Popen]:
    log = directory / "gunicorn.log"
    with log.open("wb") as output:
        server = psutil.Popen(
            [
                *[sys.executable, "-m", "gunicorn", "--config", str(CONF), "--no-control-socket"],
                # A worker that is forked as the server is stopped misses the TERM, and is killed then.
                *["--graceful-timeout", "5"],
                *["--bind", "unix:gunicorn.sock", "--pythonpath", str(HERE), "demo_app:app"],
            ],
            cwd=directory,
            env={**os.environ, "DEMO_PIPE": str(pipe)},
            pass_fds=[pipe],
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the demo, which then ends the server
        )
    try:
        yield server
    finally:
        server.terminate()
        try:
            server.wait(PATIENCE)
        except psutil.TimeoutExpired:
            server.kill()
            server.wait()


class Screen:
    """What is seen: in a terminal two live tables, elsewhere a line for each thing that happens."""

    def __init__(self, story: Story, server: psutil.Popen, console: Console) -> None:
        self.story = story
        self.server = server
        self.console = console

    def opening(self) -> None:
        lines = CONF.read_text("utf-8").split("begins here.\n")[1].strip()
        self.console.print(f"[bold]leaderlock[/bold]  {WHAT}\n", highlight=False)
        self.console.print("its configuration (examples/demo_conf.py)", style="dim")
        self.console.print(Syntax(lines, "python", background_color="default"))
        self.console.print()

    def live(self) -> contextlib.AbstractContextManager[object]:
        if self.console.is_terminal:
            return Live(get_renderable=self.frame, console=self.console, refresh_per_second=10)
        return contextlib.nullcontext()

    def say(self, line: str) -> None:
        if not self.console.is_terminal:
            self.console.print(line, soft_wrap=True, highlight=False)

    def frame(self) -> RenderableType:
        tables = [self._workers(), self._takeovers()]
        return Columns(tables, padding=(0, 4)) if self.console.width >= 100 else Group(*tables)

    def _workers(self) -> Table:
        leader = self.story.leader
        table = Table(
            "worker",
            "",
            "term",
            "leads for",
            title="gunicorn",
            title_justify="left",
            box=box.SIMPLE_HEAD,
        )
        table.title_justify = "left"
        for pid in workers(self.server):
            if leader is not None and pid == leader.pid:
                age = (time.monotonic_ns() - leader.clock) / 1e9
                table.add_row(
                    str(pid), "● leader", str(leader.term), f"{age:.1f} s", style="bold green"
                )
            else:
                table.add_row(str(pid), "standby", "", "", style="dim")
        return table

    def _takeovers(self) -> Table:
        table = Table(
            "",
            "killed",
            "next leader",
            "term",
            title="takeovers",
            title_justify="left",
            box=box.SIMPLE_HEAD,
        )
        table.title_justify = "left"
        table.add_column("SIGKILL to first line", justify="right")
        for number in range(KILLS):
            if number < len(self.story.takeovers):
                takeover = self.story.takeovers[number]
                successor = takeover.successor
                cells = [str(takeover.killed), "…", "", ""]
                if successor is not None:
                    latency = f"[bold yellow]{takeover.milliseconds:.2f} ms"
                    cells[1:] = [str(successor.pid), str(successor.term), latency]
                table.add_row(str(number + 1), *cells)
            else:
                table.add_row(str(number + 1), style="dim")
        return table


def workers(server: psutil.Popen) -> list[int]:
    try:
        return sorted(
            child.pid for child in server.children() if child.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:  # the server, or a child while it was looked at
        return []


def kill_leader(story: Story, screen: Screen, lock: LeaderLock) -> None:
    """Kill it, wait for the next one, and hold the kernel's word against what that one says."""
    leader = story.leader
    assert leader is not None
    takeover = Takeover(leader.pid, time.monotonic_ns())
    os.kill(leader.pid, signal.SIGKILL)
    story.takeovers.append(takeover)
    takeover.successor = successor = story.next_leader(after=leader)
    screen.say(
        f"{len(story.takeovers)}. killed {leader.pid}; {successor.pid} leads in term {successor.term}"
        f" after {takeover.milliseconds:.2f} ms"
    )
    holder = lock.holder()
    if holder is None or (holder.pid, holder.term) != (successor.pid, successor.term):
        raise DemoFailed(f"{successor.pid} says that it leads, but the lock is held by {holder}")


def require_one_leader_at_a_time(events: list[Event]) -> None:
    """Each leader wrote ten lines a second: no line may be later than another leader's first."""
    ordered = sorted(events)
    for before, after in itertools.pairwise(ordered):
        same = before.pid == after.pid and before.term == after.term
        follows = after.kind == "first" and after.pid != before.pid and after.term > before.term
        if not (same or follows):
            raise DemoFailed(f"two leaders at once: {before} and {after}")


def run(console: Console, directory: Path) -> None:
    story = Story()
    reader, writer = os.pipe()
    threading.Thread(target=story.listen, args=(reader,), daemon=True).start()
    with gunicorn(directory, writer) as server:
        os.close(writer)
        screen = Screen(story, server, console)
        screen.opening()
        leader = story.next_leader(after=None)
        address = str(directory / "gunicorn.sock")
        threading.Thread(target=story.request, args=(address,), daemon=True).start()
        screen.say(f"{leader.pid} leads in term {leader.term}")
        pause = PAUSE if console.is_terminal else PAUSE / 3
        lock = LeaderLock(directory / "leader.lock")
        with screen.live():
            for _ in range(KILLS):
                time.sleep(pause)
                kill_leader(story, screen, lock)
            time.sleep(pause)
        served, failed = story.served, story.failed
        health = json.loads((directory / "health.json").read_text("utf-8"))
        if server.poll() is not None:
            raise DemoFailed(f"gunicorn has ended with status {server.returncode}")
    require_one_leader_at_a_time(story.events)
    summary(console, story, health, f"{served} requests answered meanwhile, {failed} failed")


def summary(console: Console, story: Story, health: dict[str, object], requests: str) -> None:
    latencies = [takeover.milliseconds for takeover in story.takeovers]
    leaders = len({event.term for event in story.events})
    console.print("\nhealth.json, as the last leader left it", style="dim")
    console.print(f"leader: {json.dumps(health['leader'])}", highlight=False)
    console.print(f"checks: {', '.join(_checks(health))}\n", highlight=False)
    console.print(
        f"{len(latencies)} kills, {len(latencies)} takeovers: median "
        f"{statistics.median(latencies):.2f} ms, worst {max(latencies):.2f} ms",
        style="bold green",
        highlight=False,
    )
    console.print(
        f"{leaders} leaders sent {len(story.events)} signs of life, none while another led\n{requests}",
        highlight=False,
    )


def _checks(health: dict[str, object]) -> Iterator[str]:
    found = health["checks"]
    assert isinstance(found, dict)
    for name, outcome in found.items():
        value = outcome["value"]
        alive = f", {value['alive']} alive" if isinstance(value, dict) and "alive" in value else ""
        yield f"{name}: {outcome['status']}{alive}"


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    console = Console()
    with tempfile.TemporaryDirectory(prefix="leaderlock-demo-") as name:
        directory = Path(name)
        try:
            run(console, directory)
        except KeyboardInterrupt:
            console.print("\ninterrupted")
            return 128 + signal.SIGINT
        except DemoFailed as error:
            console.print(f"\n[bold red]{error}", soft_wrap=True)
            log = (directory / "gunicorn.log").read_text("utf-8", "replace")
            console.print(log, markup=False, highlight=False, soft_wrap=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
