"""`make demo-fleet`: three containers on a real PostgreSQL; a link is cut, and another container leads.

Ends by itself, with exit status 0 if every takeover came and there were never two leaders at once. The
containers are namespaces of the kernel (network, PID, mount), so the demo needs root, but no Docker.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.syntax import Syntax

from tests.fleet.network import Network
from tests.fleet.servers import PostgreSQL, family
from tests.processes import until

PROGRAM = Path(__file__).with_name("demo_fleet_container.py")
NAMES = "abc"
LEASE = 3.0
PAUSE = 1.5  # seconds between the steps, for the eye; shorter where nobody watches
PATIENCE = 45.0

WHAT = (
    "Three containers, three workers in each, one job, and one PostgreSQL. Exactly one worker of them "
    "all runs the job: the leader."
)


class DemoFailed(Exception):
    """What was promised did not happen."""


@dataclass(frozen=True, order=True)
class Event:
    """A line from a container: a leader's "first", a leader's "beat", or a worker that is "dead"."""

    clock: int  # ns of the monotonic clock, which all containers share
    kind: str
    container: str
    pid: int  # inside the container
    term: int

    @property
    def worker(self) -> str:
        return f"worker {self.pid} of container {self.container}"

    def after(self, clock: int) -> str:
        elapsed = (self.clock - clock) / 1e9
        return f"{elapsed * 1000:.0f} ms" if elapsed < 0.5 else f"{elapsed:.2f} s"


class Story:
    """What the containers have told; a thread listens."""

    def __init__(self) -> None:
        reader, self.pipe = os.pipe()
        self.events: list[Event] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._listen, args=(reader,), daemon=True).start()

    def _listen(self, pipe: int) -> None:
        with os.fdopen(pipe, encoding="ascii") as lines:
            for line in lines:
                kind, container, pid, term, clock = line.split()
                with self._changed:
                    self.events.append(Event(int(clock), kind, container, int(pid), int(term)))
                    self._changed.notify_all()

    def wait(self, what: str, wanted: Callable[[Event], bool]) -> Event:
        def found() -> Event | None:
            return next(filter(wanted, self.events), None)

        with self._changed:
            event = self._changed.wait_for(found, PATIENCE)
        if event is None:
            raise DemoFailed(f"waited {PATIENCE:g} s for {what}")
        return event

    def leader(self, term: int = 0) -> Event:
        """The first line of the leader after a term."""
        return self.wait(
            f"a leader after term {term}", lambda event: event.kind == "first" and event.term > term
        )

    def death(self, leader: Event) -> Event:
        """The end of a leader's process."""
        return self.wait(
            f"the end of {leader.worker}",
            lambda event: (
                event.kind == "dead"
                and (event.container, event.pid) == (leader.container, leader.pid)
                and event.clock > leader.clock
            ),
        )


class Fleet:
    """The server and the containers, each a host of the network."""

    def __init__(self, network: Network, server: PostgreSQL, story: Story) -> None:
        self.network = network
        self.server = server
        self._containers = {name: self._start(name, story.pipe) for name in NAMES}

    def _start(self, name: str, pipe: int) -> subprocess.Popen[bytes]:
        directory = self.network.directory / name
        directory.mkdir(mode=0o700)
        with (directory / "log").open("wb") as log:
            return self.network.start(
                name,
                [
                    *("unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"),
                    *(sys.executable, "-m", "leaderlock", "init", "--"),
                    *(sys.executable, PROGRAM, name, self.server.url("demo"), str(pipe)),
                ],
                cwd=directory,
                pass_fds=[pipe],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self, worker: Event) -> None:
        """Send SIGKILL to a worker, which has another PID out here."""
        os.kill(self._pid(worker.container, worker.pid), signal.SIGKILL)

    def stop(self, name: str) -> None:
        """Tell a container to end in good order, as `docker stop` does."""
        os.kill(self._pid(name, 1), signal.SIGTERM)

    def _pid(self, name: str, inside: int) -> int:
        for pid in family(self._containers[name].pid):
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            [line] = [line.split() for line in status.splitlines() if line.startswith("NSpid:")]
            if len(line) > 2 and int(line[-1]) == inside:
                return pid
        raise DemoFailed(f"container {name} has no process {inside}")

    def clock(self) -> object:
        """What the server's clock shows."""
        return self.server.sql("SELECT clock_timestamp()::text")[0][0]

    def wait_for_session(self, name: str, since: object) -> None:
        """Wait until a container has a session in the server that has begun since then."""
        address = self.network.hosts[name]
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'leaderlock %'"
            f" AND client_addr = '{address}' AND backend_start > '{since}'"
        )
        until(lambda: self.server.sql(query)[0][0], f"a session of container {name}")

    def logs(self) -> Iterator[str]:
        for path in sorted(self.network.directory.glob("*/log")):
            yield f"container {path.parent.name}:\n{path.read_text(errors='replace')[-3000:]}"


class Screen:
    """Prints a line for each thing that happens, with the seconds since the start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic_ns()

    def opening(self) -> None:
        text = PROGRAM.read_text("utf-8").split("begins here.\n")[1].partition("\n\n\n#")[0]
        self._console.print(f"[bold]leaderlock[/bold]  {WHAT}\n", highlight=False)
        self._console.print("each worker does this (examples/demo_fleet_container.py)", style="dim")
        self._console.print(Syntax(text.strip(), "python", background_color="default"))
        self._console.print()

    def say(self, text: str, clock: int | None = None, style: str = "") -> None:
        seconds = ((clock or time.monotonic_ns()) - self._start) / 1e9
        self._console.print(
            f"{seconds:5.1f} s  {text}", style=style, soft_wrap=True, highlight=False, markup=False
        )

    def pause(self) -> None:
        time.sleep(PAUSE if self._console.is_terminal else PAUSE / 3)


def play(fleet: Fleet, story: Story, screen: Screen) -> None:
    """The steps of the demo."""
    leader = story.leader()
    screen.say(f"{leader.worker} leads in term {leader.term}", leader.clock, "bold green")
    for name in NAMES:
        fleet.wait_for_session(name, "-infinity")
    screen.pause()
    leader = kill_worker(leader, fleet, story, screen)
    screen.pause()
    cut, leader = leader.container, cut_link(leader, fleet, story, screen)
    screen.pause()
    heal_link(cut, fleet, screen)
    while leader.container != cut:
        screen.pause()
        leader = stop_container(leader, fleet, story, screen)
    screen.pause()


def kill_worker(leader: Event, fleet: Fleet, story: Story, screen: Screen) -> Event:
    screen.say(f"{leader.worker} is killed with SIGKILL")
    killed = time.monotonic_ns()
    fleet.kill(leader)
    following = story.leader(leader.term)
    where = "its neighbour" if following.container == leader.container else "of another container"
    screen.say(
        f"{following.worker}, {where}, leads in term {following.term} after {following.after(killed)}",
        following.clock,
        "bold green",
    )
    return following


def cut_link(leader: Event, fleet: Fleet, story: Story, screen: Screen) -> Event:
    name = leader.container
    cut = time.monotonic_ns()
    fleet.network.cut(name)
    screen.say(f"the network cable of container {name} is cut", cut, "bold red")
    screen.say(f"the leader cannot renew its lease of {LEASE:g} s any more; the job goes on for now")
    death = story.death(leader)
    screen.say(
        f"the kernel has killed {leader.worker} at the end of its lease, {death.after(cut)} after the "
        "cut",
        death.clock,
        "bold red",
    )
    following = story.leader(leader.term)
    screen.say(
        f"{following.worker} leads in term {following.term}, {following.after(cut)} after the cut",
        following.clock,
        "bold green",
    )
    return following


def heal_link(name: str, fleet: Fleet, screen: Screen) -> None:
    since = fleet.clock()
    healed = time.monotonic_ns()
    fleet.network.heal(name)
    screen.say(f"the cable of container {name} is whole again", healed)
    fleet.wait_for_session(name, since)
    screen.say(f"container {name} waits for its turn in PostgreSQL again")


def stop_container(leader: Event, fleet: Fleet, story: Story, screen: Screen) -> Event:
    screen.say(f"container {leader.container} is told to stop, as in a rolling update")
    told = time.monotonic_ns()
    fleet.stop(leader.container)
    following = story.leader(leader.term)
    screen.say(
        f"{following.worker} leads in term {following.term} after {following.after(told)}",
        following.clock,
        "bold green",
    )
    return following


def require_one_leader_at_a_time(events: list[Event]) -> list[Event]:
    """The lines of all leaders; each wrote ten a second, and none after the next one had begun."""
    lines = sorted(event for event in events if event.kind != "dead")
    for before, after in itertools.pairwise(lines):
        same = (before.container, before.pid, before.term) == (after.container, after.pid, after.term)
        if not same and not (after.kind == "first" and after.term > before.term):
            raise DemoFailed(f"two leaders at once: {before} and {after}")
    return lines


def run(console: Console) -> None:
    story = Story()
    screen = Screen(console)
    screen.opening()
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(Network())
        server = PostgreSQL(network)
        stack.callback(server.stop)  # a PostgreSQL that is killed leaves its shared memory
        screen.say("PostgreSQL starts")
        with put_off_interrupts():
            server.start()
        screen.say(f"the containers start: {', '.join(NAMES)}")
        fleet = Fleet(network, server, story)
        try:
            play(fleet, story, screen)
        except (DemoFailed, TimeoutError) as error:
            raise DemoFailed("\n".join([str(error), *fleet.logs()])) from None
    lines = require_one_leader_at_a_time(story.events)
    leaders = len({event.term for event in lines})
    console.print(
        f"\n{leaders} leaders sent {len(lines)} signs of life, none while another led",
        style="bold green",
        highlight=False,
    )


def end(number: int, _frame: object) -> None:
    """End once, in good order, however often somebody asks."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


@contextlib.contextmanager
def put_off_interrupts() -> Iterator[None]:
    """End afterwards: a PostgreSQL that is not up yet, or its initdb, leaves shared memory behind."""
    numbers: list[int] = []
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, _: numbers.append(number))
    try:
        yield
    finally:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, end)
        if numbers:
            end(numbers[0], None)


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    console = Console()
    if os.geteuid() != 0:
        console.print("this demo makes network namespaces, which only root can: sudo make demo-fleet")
        return 1
    try:
        run(console)
    except DemoFailed as error:
        console.print(f"\n{error}", style="bold red", soft_wrap=True, highlight=False, markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
