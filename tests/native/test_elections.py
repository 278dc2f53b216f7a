"""Leaders with keepers: when an election makes one, and what it changes for the next leader."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.native.kept import CAN_HAVE_KEEPERS, end_of, held, keepers_of, status_of
from tests.processes import Child, ChildError, descriptors_of, until, until_parked

pytestmark = pytest.mark.skipif(not CAN_HAVE_KEEPERS, reason="needs Linux on x86-64 or aarch64")

ROOT = Path(__file__).parents[2]
TASK = """
def task(leadership):
    print(leadership.term)
    leadership.stopping.wait()
"""

BEATING = """
def task(leadership):
    print(leadership.term)
    for _ in leadership.every(0.1):
        pass
"""


@contextmanager
def candidate(path: Path, settings: str = "", task: str = TASK) -> Iterator[Child]:
    """A child with a candidate, as `candidate`, whose task prints its term."""
    with Child(path) as child:
        child.tell(task)
        child.tell(
            f"election = leaderlock.Election(argv[0]{settings}); candidate = election.start(task)"
        )
        yield child


def keeper_of(child: Child) -> int:
    """The keeper of a child that leads; waits until it is made."""
    return until(lambda: keepers_of(child.pid))[0]


def without_keeper(child: Child) -> None:
    """Wait until the child has no thread that could be making a keeper, and see that it has none."""
    child.tell("from leaderlock.kernel import keeper")
    assert child.tell("keeper.native.pid()") == 0
    assert keepers_of(child.pid) == []


def test_a_leader_has_a_keeper_and_a_standby_has_none(path: Path) -> None:
    with candidate(path) as leader:
        assert leader.line() == "1"
        first = keeper_of(leader)
        with candidate(path) as standby, end_of(first) as end:
            until_parked(path, standby.pid)
            without_keeper(standby)
            with held(first):  # the memory is not freed: nobody has waited for that
                leader.kill()
                assert standby.line() == "2"
            assert end.wait()
            assert keeper_of(standby) != first
            assert standby.tell("candidate.stop(5)")


def test_a_task_that_only_waits_has_its_keeper_without_waking(path: Path) -> None:
    with candidate(path) as leader:
        assert leader.line() == "1"
        assert status_of(keeper_of(leader))["State"].startswith("S")
        assert leader.tell("candidate.stop(5)")
        assert keepers_of(leader.pid), "kept for the next term"


@pytest.mark.parametrize("way", ["settings", "environment", "only_once"])
def test_a_leader_can_do_without(path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "environment":
        monkeypatch.setenv("LEADERLOCK_KEEPER", "0")
    if way == "only_once":
        with Child(path) as leader:
            leader.tell(
                "@leaderlock.only_once(path=argv[0], keeper=False)\n"
                "def start(): print(leaderlock.current_leadership().term)\n"
                "candidate = start()"
            )
            assert leader.line() == "1"
            until(lambda: leader.tell("candidate.state == 'leading' and candidate._ended"))
            without_keeper(leader)
        return
    with candidate(path, ", keeper=False" if way == "settings" else "") as leader:
        assert leader.line() == "1"
        assert leader.tell("candidate.stop(5)"), "what was put off has run by now"
        without_keeper(leader)
        assert leader.tell("threading.active_count()") == 1


def test_only_once_has_a_keeper_though_its_function_never_waits(path: Path) -> None:
    with Child(path) as leader:
        leader.tell(
            "@leaderlock.only_once(path=argv[0])\n"
            "def start(): threading.Event().wait()\n"
            "candidate = start(); candidate.wait()"
        )
        assert keeper_of(leader)


def test_a_block_in_an_event_loop_has_a_keeper(path: Path) -> None:
    with Child(path) as leader:
        leader.tell(
            "import asyncio\n"
            "async def main():\n"
            "    async with leaderlock.Election(argv[0]).lead() as leadership:\n"
            "        print(leadership.term)\n"
            "        await asyncio.sleep(1000)\n"
        )
        leader.begin("asyncio.run(main())")
        assert leader.line() == "1"
        assert keeper_of(leader)


@pytest.mark.slow
def test_a_thousand_terms_of_a_process_have_one_keeper(path: Path) -> None:
    with Child(path) as leader:
        leader.tell("election = leaderlock.Election(argv[0], on_return='resign')")
        leader.tell("election.run(lambda leadership: leadership.beat())")
        keeper = keeper_of(leader)
        before, maps = descriptors_of(leader.pid), leader.tell("len(list(open('/proc/self/maps')))")
        leader.tell("def task(leadership): leadership.beat(); return leadership.term")
        leader.tell("for _ in range(1000): last = election.run(task)")
        assert leader.tell("last") == 1001
        assert keepers_of(leader.pid) == [keeper]
        assert descriptors_of(leader.pid) == before
        assert leader.tell("len(list(open('/proc/self/maps')))") < maps + 20


def test_two_elections_of_a_process_have_one_keeper(path: Path) -> None:
    with candidate(path) as leader:
        assert leader.line() == "1"
        keeper = keeper_of(leader)
        leader.tell("other = leaderlock.Election(argv[0] + '.2').start(task)")
        assert leader.line() == "1"
        assert leader.tell("other.stop(5)")
        leader.tell("from leaderlock.kernel.keeper import try_to_start")
        assert leader.tell("try_to_start()") is None
        assert keepers_of(leader.pid) == [keeper]


def test_the_dead_man_switch_kills_a_leader_with_a_keeper(path: Path) -> None:
    with candidate(path, ", lease=1", BEATING) as leader:
        assert leader.line() == "1"
        keeper = keeper_of(leader)
        with candidate(path) as standby, end_of(keeper) as end:
            until_parked(path, standby.pid)
            os.kill(leader.pid, signal.SIGSTOP)  # what does not beat is killed
            assert standby.line() == "2"
            assert end.wait()
            assert leader.wait() == -signal.SIGKILL


def test_a_leader_that_executes_itself_reaps_what_was_left_of_its_keeper(path: Path) -> None:
    with candidate(path) as leader:
        assert leader.line() == "1"
        first = keeper_of(leader)
        with end_of(first) as end:
            leader.begin("os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])")
            assert end.wait()
            leader.tell(TASK)
            leader.tell("candidate = leaderlock.Election(argv[0]).start(task)")
            assert leader.line() == "2"
            until(lambda: len(keepers_of(leader.pid)) == 1 and keepers_of(leader.pid) != [first])


def test_a_forked_child_closes_what_it_inherits_of_its_parent_s_keeper(path: Path) -> None:
    with candidate(path) as leader:
        assert leader.line() == "1"
        keeper = keeper_of(leader)
        leader.tell(
            "reader, writer = os.pipe()\n"
            "if os.fork() == 0:\n"
            "    links = []\n"
            "    for number in os.listdir('/proc/self/fd'):\n"
            "        try: links.append(os.readlink('/proc/self/fd/' + number))\n"
            "        except OSError: pass\n"
            "    os.write(writer, repr(links).encode())\n"
            "    os._exit(0)"
        )
        links = leader.tell("os.read(reader, 65536)").decode()
        assert "leaderlock-keeper" not in links
        assert keepers_of(leader.pid) == [keeper]


def test_what_fails_is_logged_at_debug_and_the_leader_leads(path: Path) -> None:
    with Child(path) as leader:
        leader.tell("import logging; shown = {'stream': sys.stdout, 'format': '%(message)s'}")
        leader.tell("logging.basicConfig(level='DEBUG', **shown)")
        leader.tell(f"sys.path.append({str(ROOT)!r}); from tests.native import sandbox")
        leader.tell("calls = [sandbox.CALLS['close_range']]")
        leader.tell("sandbox.install(sandbox.with_result(calls, sandbox.ERRNO | 1))")
        leader.tell(TASK)
        leader.tell("candidate = leaderlock.Election(argv[0]).start(task)")
        said = [leader.line() for _ in range(3)]
        assert any("has no keeper: close_range" in line for line in said)
        assert leader.tell("candidate.is_leader")


def test_a_keeper_is_true_or_false() -> None:
    with Child() as child, pytest.raises(ChildError, match="keeper must be True or False, not 'no'"):
        child.tell("leaderlock.Election('/x', keeper='no')")
