"""What a keeper is, when it ends, and what it never does: each with real processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.native.kept import (
    CAN_HAVE_KEEPERS,
    NAME,
    SOURCES,
    end_of,
    held,
    keepers_of,
    keeping,
    name_of,
    status_of,
)
from tests.processes import Child, descriptors_of, holder, needs_root, until, until_parked

pytestmark = pytest.mark.skipif(not CAN_HAVE_KEEPERS, reason="needs Linux on x86-64 or aarch64")

ROOT = Path(__file__).parents[2]
needs_to_be_root = pytest.mark.skipif(os.geteuid() != 0, reason=needs_root)


def test_a_killed_leader_lets_go_of_its_lock_while_its_keeper_still_has_its_memory(path: Path) -> None:
    with holder(path) as leader, Child(path) as standby:
        leader.tell("memory = bytearray(os.urandom(1)) * (64 << 20)")
        leader.tell("import leaderlock_native as native")
        with end_of(leader.tell("native.start()")) as end:
            standby.begin("lock = LeaderLock(argv[0]); lock.acquire()")
            until_parked(path, standby.pid)
            with held(end.pid):  # it can free nothing
                leader.kill()
                standby.answer()
                assert standby.tell("lock.locked()")
                assert int(status_of(end.pid)["VmRSS"].split()[0]) > 64 << 10
            assert end.wait()


def test_a_keeper_has_nothing_of_its_leader_but_the_memory(tmp_path: Path) -> None:
    leader, keeper = keeping()
    with leader:
        leader.tell(f"os.chdir({str(tmp_path)!r})")
        # Made anew after these: a directory, a file, a handler, a lock.
        assert leader.tell("native.stop()")
        leader.tell("file = open('file', 'w'); signal.signal(signal.SIGUSR1, print)")
        leader.tell("lock = LeaderLock('lock'); lock.acquire(); os.nice(3)")
        keeper = leader.tell("native.start()")
        assert name_of(keeper) == NAME
        assert os.readlink(f"/proc/{keeper}/cwd") == "/"
        kinds = [re.sub(r"[^a-z-].*", "", link.lstrip("/")) for link in descriptors_of(keeper)]
        assert sorted(kinds) in (["anon_inode", "memfd"], ["memfd", "pidfd"], ["anon", "memfd"])
        seen, its = status_of(keeper), status_of(leader.pid)
        assert seen["Threads"] == "1"
        assert int(seen["SigBlk"], 16) | 1 << signal.SIGKILL - 1 | 1 << signal.SIGSTOP - 1 == 2**64 - 1
        assert seen["Seccomp"] == "2"
        assert seen["NoNewPrivs"] == "1"
        assert its["NoNewPrivs"] == "0", "the leader's own rights are as they were"
        assert its["SigBlk"] == "0000000000000000"
        assert os.getpgid(keeper) == keeper != os.getpgid(leader.pid)
        assert os.getpriority(os.PRIO_PROCESS, keeper) == 10
        assert "Max core file size        1  " in Path(f"/proc/{keeper}/limits").read_text()
        assert os.getpriority(os.PRIO_PROCESS, leader.pid) == 3


def test_a_keeper_is_not_nicer_to_itself_than_its_leader() -> None:
    with Child() as leader:
        leader.tell("import leaderlock_native as native; os.nice(15)")
        assert os.getpriority(os.PRIO_PROCESS, leader.tell("native.start()")) == 15


def test_there_is_one_keeper_for_each_process() -> None:
    leader, keeper = keeping()
    with leader:
        assert leader.tell("native.start()") == keeper == leader.tell("native.pid()")
        assert keepers_of(leader.pid) == [keeper]
        assert leader.tell("native.stop()")
        assert leader.tell("native.pid()") == 0
        assert keepers_of(leader.pid) == []


@pytest.mark.parametrize(
    "way",
    [
        "os._exit(3)",
        "sys.exit(3)",
        "os.abort()",
        "os.kill(0, signal.SIGTERM)",
        "os.kill(os.getpid(), signal.SIGKILL)",
        "ctypes.string_at(0)",
        "threading.Thread(target=os._exit, args=(3,)).start()",
        "os.execv('/bin/true', ['true'])",
        "threading.Thread(target=os.execv, args=('/bin/true', ['true'])).start()",
    ],
)
def test_a_keeper_ends_with_its_leader_however_that_ends(way: str, tmp_path: Path) -> None:
    leader, keeper = keeping()
    with leader, end_of(keeper) as end:
        # A core dump, where the system writes one, is a part of the end.
        leader.tell(f"os.chdir({str(tmp_path)!r})")
        leader.tell("resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)")
        leader.begin(way)
        if way == "sys.exit(3)":  # an answer to `Child`: end the interpreter in order
            leader.end()
        leader.wait()
        assert end.wait()
        assert not keepers_of(leader.pid)


def test_a_leader_that_executes_another_program_leaves_its_old_memory_at_once() -> None:
    leader, keeper = keeping()
    with leader, end_of(keeper) as end:
        leader.begin("os.execv('/bin/sleep', ['sleep', '1000'])")
        assert end.wait()
        assert name_of(leader.pid) == "sleep"


@pytest.mark.parametrize(
    "child",
    [
        "os.fork() or time.sleep(1000)",
        "subprocess.Popen(['sleep', '1000'])",
        "subprocess.Popen(['sleep', '1000'], close_fds=False)",
        "context.Process(target=time.sleep, args=(1000,)).start()",
    ],
)
def test_a_child_of_the_leader_does_not_keep_its_keeper(child: str) -> None:
    leader, keeper = keeping()
    with leader, end_of(keeper) as end:
        leader.tell("import multiprocessing; context = multiprocessing.get_context('fork')")
        leader.begin(child)
        until(
            lambda: len(Path(f"/proc/{leader.pid}/task/{leader.pid}/children").read_text().split()) > 1
        )
        os.kill(leader.pid, signal.SIGKILL)
        assert end.wait()


def test_a_forked_child_has_no_keeper_and_makes_one_of_its_own() -> None:
    leader, keeper = keeping()
    with leader:
        leader.tell(
            "reader, writer = os.pipe()\n"
            "if os.fork() == 0:\n"
            "    before = native.pid()\n"
            "    native.stop()\n"
            "    native.forget()\n"
            "    own = native.start()\n"
            "    os.write(writer, repr((before, own, os.getppid())).encode())\n"
            "    os._exit(0)\n"
        )
        before, own, parent = eval(leader.tell("os.read(reader, 100)").decode())
        assert before == 0
        assert own not in (0, keeper)
        assert parent == leader.pid
        assert leader.tell("native.pid()") == keeper


def test_no_wait_of_the_leader_s_sees_the_keeper_and_no_signal_tells_of_its_end() -> None:
    leader, keeper = keeping()
    with leader, end_of(keeper) as end:
        leader.tell("seen = []; signal.signal(signal.SIGCHLD, lambda *_: seen.append(1))")
        for wait in ("os.wait()", "os.waitpid(-1, os.WNOHANG)", "os.waitid(os.P_ALL, 0, os.WEXITED)"):
            with pytest.raises(Exception, match=r"ChildProcessError"):
                leader.tell(wait)
        os.kill(keeper, signal.SIGKILL)
        assert end.wait()
        with pytest.raises(Exception, match=r"ChildProcessError"):
            leader.tell("os.wait()")
        assert leader.tell("seen") == []
        assert leader.tell("native.pid()") == 0
        assert keepers_of(leader.pid) == [], "reaped"
        again = leader.tell("native.start()")
        assert keepers_of(leader.pid) == [again]


def test_a_leader_that_closes_every_descriptor_loses_its_keeper_and_can_have_another() -> None:
    leader, keeper = keeping()
    with leader, end_of(keeper) as end:
        leader.tell("os.closerange(4, 4096)")  # 3: `Child` answers by it
        leader.tell("other = os.dup2(0, 700)")  # what had the memfd's number is another file now
        again = leader.tell("native.start()")
        assert end.wait(0)
        assert keepers_of(leader.pid) == [again] != [keeper]
        assert leader.tell("os.fstat(700) == os.fstat(0)")


def test_signals_for_the_leader_s_group_and_its_own_do_not_end_a_keeper() -> None:
    leader, keeper = keeping()
    with leader, end_of(keeper) as end:
        leader.tell("ignored = [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)] and None")
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGSEGV):
            os.kill(keeper, number)
        os.killpg(leader.pid, signal.SIGTERM)
        assert not end.wait(0.05)
        assert leader.tell("native.pid()") == keeper


def test_a_keeper_that_is_stopped_goes_on_when_its_leader_dies(path: Path) -> None:
    """Its process group is orphaned then, and the kernel continues what is stopped there (_exit(2))."""
    leader, keeper = keeping(path)
    with leader, end_of(keeper) as end:
        leader.tell("lock = LeaderLock(argv[0]); lock.acquire()")
        os.kill(keeper, signal.SIGSTOP)
        until(lambda: status_of(keeper)["State"].startswith("T"))
        leader.kill()
        with holder(path) as next_one:
            assert next_one.tell("lock.term") == 2
        assert end.wait()


def test_a_keeper_that_a_debugger_holds_pins_the_memory_and_not_the_lock(path: Path) -> None:
    leader, keeper = keeping(path)
    with leader, end_of(keeper) as end:
        leader.tell("lock = LeaderLock(argv[0]); lock.acquire()")
        with held(keeper):
            leader.kill()
            with holder(path) as next_one:
                assert next_one.tell("lock.term") == 2
            assert not end.wait(0)
        assert end.wait()


def test_a_stopped_leader_s_keeper_waits_and_a_kill_frees_the_lock(path: Path) -> None:
    leader, keeper = keeping(path)
    with leader, end_of(keeper) as end:
        leader.tell("lock = LeaderLock(argv[0]); lock.acquire()")
        os.kill(leader.pid, signal.SIGSTOP)
        assert not end.wait(0.3)
        leader.kill()
        with holder(path) as next_one:
            assert next_one.tell("lock.term") == 2
        assert end.wait()


def test_the_keeper_s_own_code_calls_no_library(tmp_path: Path) -> None:
    """Its thread-local storage is that of a thread that has ended: errno, the canary, the mask."""
    made = tmp_path / "life.o"
    words = [
        "gcc",
        "-O2",
        "-fPIC",
        "-fstack-protector-all",
        "-c",
        str(SOURCES / "life.c"),
        "-o",
        str(made),
    ]
    subprocess.run(words, check=True)
    told = subprocess.run(["nm", "-u", made], check=True, capture_output=True, text=True).stdout
    assert set(told.split()) - {"U", "_GLOBAL_OFFSET_TABLE_"} == {"confine"}


EVERY_CALL = r"""
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "system_calls.h"
long confine(void);

int main(void) {
    long number, other = 0;
    int status;
    for (number = 0; number < 600; number++) {
        pid_t child = fork();
        if (child == 0) {
            long result;
            if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || confine()) call(SYS_exit_group, 3, 0, 0, 0);
            result = system_call(number, -1, -1, -1, -1, -1);
            call(SYS_exit_group, result == -EPERM ? 1 : 2, 0, 0, 0);
        }
        waitpid(child, &status, 0);
        /* uretprobe(2) and uprobe(2): no filter is asked about them; here they do nothing, or kill. */
        if (number == 335 || number == 336) continue;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 1) printf("%ld ", number);
    }
    return 0;
}
"""


def test_a_confined_keeper_may_call_nothing_but_the_waits_and_the_exit(tmp_path: Path) -> None:
    (tmp_path / "every.c").write_text(EVERY_CALL)
    made = tmp_path / "every"
    words = ["gcc", "-I", SOURCES, tmp_path / "every.c", SOURCES / "confinement.c", "-o", made]
    subprocess.run(list(map(str, words)), check=True)
    told = subprocess.run([made], check=True, capture_output=True, text=True, timeout=60).stdout
    numbers = "SYS_ppoll SYS_exit_group SYS_restart_syscall"
    program = "#include <sys/syscall.h>\n" + numbers
    seen = subprocess.run(["gcc", "-E", "-"], input=program, capture_output=True, text=True, check=True)
    allowed = seen.stdout.splitlines()[-1].split()
    # futex and fcntl are let through with one operation each, which -1 is not.
    assert sorted(told.split()) == sorted(map(str, map(eval, allowed)))


@needs_to_be_root
def test_no_setuid_returns_before_the_keeper_is_confined() -> None:
    """Else a leader that has given up root could have the keeper run its code as root."""
    with Child() as leader:
        leader.tell(
            "import leaderlock_native as native\n"
            f"sys.path.append({str(ROOT)!r})\n"
            "from tests.native.kept import keepers_of, status_of\n"
            "keepers_of(os.getpid())  # what it needs is imported while this is root\n"
            "unconfined, seen = [], 0\n"
            "ended = threading.Event()\n"
            "def make():\n"
            "    for _ in range(300):\n"
            "        native.start()\n"
            "        native.stop()\n"
            "    ended.set()\n"
            "thread = threading.Thread(target=make)\n"
            "thread.start()\n"
            "while not ended.is_set():\n"
            "    os.seteuid(65534)\n"
            "    for pid in keepers_of(os.getpid()):\n"
            "        try:\n"
            "            status = status_of(pid)\n"
            "        except (FileNotFoundError, ProcessLookupError):\n"
            "            continue\n"
            "        seen += 1\n"
            "        is_root = status['Uid'].split()[1] == '0'  # made before the change of user\n"
            "        if is_root and status['Seccomp'] != '2' and status['State'][0] != 'Z':\n"
            "            unconfined.append(status)\n"
            "    os.seteuid(0)\n"
        )
        assert leader.tell("unconfined") == []
        assert leader.tell("seen") > 0


@needs_to_be_root
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_leader_may_give_up_root_before_and_after(before: bool) -> None:
    with Child() as leader:
        leader.tell("import leaderlock_native as native")
        drop = "os.setgroups([]); os.setgid(65534); os.setuid(65534)"
        if before:
            leader.tell(drop)
        keeper = leader.tell("native.start()")
        if not before:
            leader.tell(drop)
            with pytest.raises(Exception, match=r"PermissionError"):
                leader.tell(f"os.kill({keeper}, signal.SIGKILL)")
        with end_of(keeper) as end:
            assert leader.tell("native.stop()"), "also without the right to signal it"
            assert end.wait(0)
        with end_of(leader.tell("native.start()")) as end:
            leader.kill()
            assert end.wait()


@needs_to_be_root
def test_a_user_without_a_process_left_is_refused(tmp_path: Path) -> None:
    with Child() as leader:
        leader.tell("import leaderlock_native as native, resource")
        leader.tell("os.setgroups([]); os.setgid(64321); os.setuid(64321)")
        leader.tell("resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))")
        with pytest.raises(Exception, match=r"BlockingIOError.*pthread_create"):
            leader.tell("native.start()")
        assert leader.tell("native.pid()") == 0
        assert not [link for link in descriptors_of(leader.pid) if "keeper" in link]
        leader.tell("resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))")


@needs_to_be_root
def test_a_process_whose_children_are_of_another_pid_namespace_is_refused() -> None:
    """There the keeper would be PID 1, and its end would be the namespace's."""
    with Child() as leader:
        leader.tell("import leaderlock_native as native, ctypes")
        assert leader.tell("ctypes.CDLL(None).unshare(0x20000000)") == 0
        with pytest.raises(Exception, match=r"OSError.*PID namespace of children"):
            leader.tell("native.start()")
        leader.tell("pid = os.fork() or os._exit(os.getpid() == 1)")
        assert leader.tell("os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])") == 1
        with pytest.raises(Exception, match=r"OSError.*PID namespace of children"):
            leader.tell("native.start()")


def test_threads_of_a_process_that_start_it_at_once_make_one_keeper() -> None:
    with Child() as leader:
        leader.tell(
            "import leaderlock_native as native, errno\n"
            "pids, barrier = [], threading.Barrier(8)\n"
            "def make():\n"
            "    barrier.wait()\n"
            "    try:\n"
            "        pids.append(native.start())\n"
            "    except OSError as error:\n"
            "        assert error.errno == errno.EBUSY\n"
            "threads = [threading.Thread(target=make) for _ in range(8)]\n"
            "[thread.start() for thread in threads]\n"
            "[thread.join() for thread in threads]"
        )
        assert set(leader.tell("pids")) == set(keepers_of(leader.pid))
        assert len(keepers_of(leader.pid)) == 1
