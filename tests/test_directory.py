"""`name=`: the same private directory for every process of a user, or a refusal."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from leaderlock import LeaderLock, LockFileReplaced, LockFileUnusable, UnsafeLockFile
from tests.processes import Child, ChildError, flocks_of, until, until_parked

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
NOBODY = 65534
OWN_RUN = Path(__file__).with_name("own_run.py")


def become(user: int) -> str:
    """What a `Child` is told to drop root."""
    # With what it needs imported first: he may not be able to read this interpreter's directory.
    return f"import logging; os.setgroups([]); os.setgid({user}); os.setuid({user})\n"


@pytest.fixture(autouse=True)
def no_directory_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LEADERLOCK_DIR", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o1777)
        yield Path(name)


def test_the_chosen_directory_is_made_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "locks"
    monkeypatch.setenv("LEADERLOCK_DIR", str(directory))
    before = os.umask(0)
    try:
        lock = LeaderLock(name="health")
        with lock:
            assert lock.path == str(directory / "health.lock")
            assert directory.stat().st_mode & 0o777 == 0o700
            record = lock.holder()
            assert record is not None
            assert record.name == "health"
    finally:
        os.umask(before)


def test_processes_with_the_same_environment_find_the_same_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADERLOCK_DIR", str(tmp_path / "locks"))
    with LeaderLock(name="x"), Child() as other:
        assert other.tell("LeaderLock(name='x').acquire(blocking=False)") is False
        assert other.tell("LeaderLock(name='y').acquire(blocking=False)") is True


def test_the_chosen_directory_goes_before_that_of_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, place in (
        ("RUNTIME_DIRECTORY", tmp_path / "runtime"),
        ("LEADERLOCK_DIR", tmp_path / "chosen"),
    ):
        place.mkdir(mode=0o700)
        monkeypatch.setenv(variable, str(place))
        assert Path(LeaderLock(name="x").path) == place / "x.lock"


@needs_root
@pytest.mark.parametrize("user", [0, NOBODY, 4242])
def test_the_place_of_a_name_depends_on_the_user_alone(user: int, tmp_path: Path) -> None:
    login = tmp_path / "login"
    login.mkdir()
    with Child("", program=OWN_RUN) as child:
        child.tell(become(user))
        child.tell("lock = LeaderLock(name='x'); lock.acquire()")
        place = "/run/leaderlock" if user == 0 else f"/run/lock/leaderlock-{user}"
        assert child.tell("lock.path") == f"{place}/x.lock"
        assert child.tell(f"(os.stat({place!r}).st_uid, os.stat({place!r}).st_mode & 0o7777)") == (
            user,
            0o700,
        )
        for variable in ("XDG_RUNTIME_DIR", "TMPDIR", "HOME"):
            child.tell(f"os.environ[{variable!r}] = {str(login)!r}")
            assert child.tell("LeaderLock(name='x').acquire(blocking=False)") is False


@needs_root
def test_the_same_name_of_two_users_are_two_locks() -> None:
    with Child("", program=OWN_RUN) as child:
        assert child.tell("(lock := LeaderLock(name='x')).acquire()")
        child.tell(become(NOBODY))
        assert child.tell("LeaderLock(name='x').acquire(blocking=False)") is True


def test_of_several_runtime_directories_the_first_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir(mode=0o700)
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}/a:{tmp_path}/b")
    assert LeaderLock(name="x").path == f"{tmp_path}/a/x.lock"


def test_inside_a_runtime_directory_that_others_may_read_ours_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # RuntimeDirectoryMode= is 0755 unless told otherwise.
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    runtime.chmod(0o755)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(runtime))
    assert LeaderLock(name="x").path == str(runtime / "leaderlock" / "x.lock")
    assert (runtime / "leaderlock").stat().st_mode & 0o777 == 0o700


def test_a_missing_runtime_directory_is_an_error_and_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "no"))
    with pytest.raises(LockFileUnusable, match=re.escape(str(tmp_path / "no"))) as caught:
        LeaderLock(name="x").path  # noqa: B018
    assert "RuntimeDirectory=" in str(caught.value)


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701, 0o777])
def test_a_chosen_directory_that_is_open_to_others_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    directory = tmp_path / "locks"
    directory.mkdir()
    directory.chmod(mode)
    monkeypatch.setenv("LEADERLOCK_DIR", str(directory))
    with pytest.raises(UnsafeLockFile, match=f"chmod 0700 {re.escape(str(directory))}"):
        LeaderLock(name="x").acquire()
    assert list(directory.iterdir()) == []


def test_a_symlink_to_a_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setenv("LEADERLOCK_DIR", str(tmp_path / "link"))
    with pytest.raises(UnsafeLockFile, match="is not a directory"):
        LeaderLock(name="x").acquire()


def test_a_file_in_the_directorys_place_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LEADERLOCK_DIR", str(tmp_path / "file"))
    with pytest.raises(UnsafeLockFile, match="is not a directory"):
        LeaderLock(name="x").acquire()


def test_a_directory_that_cannot_be_made_is_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADERLOCK_DIR", str(tmp_path / "no" / "locks"))
    with pytest.raises(LockFileUnusable, match=re.escape(str(tmp_path / "no"))) as caught:
        LeaderLock(name="x").acquire()
    assert "LEADERLOCK_DIR" in str(caught.value)


@needs_root
def test_a_directory_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "locks"
    directory.mkdir(mode=0o700)
    os.chown(directory, NOBODY, NOBODY)
    monkeypatch.setenv("LEADERLOCK_DIR", str(directory))
    with pytest.raises(UnsafeLockFile, match=f"belongs to user {NOBODY}"):
        LeaderLock(name="x").acquire()


@needs_root
def test_where_run_lock_is_roots_alone_the_next_place_is_taken() -> None:
    with Child("chmod 0755 /run/lock; mount -t tmpfs tmpfs /mnt", program=OWN_RUN) as child:
        child.tell(become(NOBODY))
        assert child.tell("LeaderLock(name='leaderlock-test-only').path").startswith(
            f"/var/tmp/leaderlock-{NOBODY}/"
        )
        os.rmdir(f"/var/tmp/leaderlock-{NOBODY}")


@needs_root
def test_a_place_that_another_user_was_first_to_make_is_refused_and_not_passed_over() -> None:
    squat = f"mkdir -m 0777 /run/lock/leaderlock-{NOBODY}"
    for owner in ("0", "4242"):
        with Child(f"{squat}; chown {owner} /run/lock/leaderlock-*", program=OWN_RUN) as child:
            child.tell(become(NOBODY))
            with pytest.raises(ChildError, match=f"belongs to user {owner}") as caught:
                child.tell("LeaderLock(name='x').acquire()")
            assert caught.value.kind == "UnsafeLockFile"
            assert "LEADERLOCK_DIR" in caught.value.text


READ_ONLY_OWN = (
    "mkdir -m 0700 /run/leaderlock; mount --bind /run/leaderlock /run/leaderlock; "
    "mount -o remount,bind,ro /run/leaderlock"
)


@needs_root
def test_a_read_only_directory_is_passed_over() -> None:
    with Child(READ_ONLY_OWN, program=OWN_RUN) as child:
        child.tell("lock = LeaderLock(name='x'); lock.acquire()")
        assert child.tell("lock.path") == "/run/lock/leaderlock-0/x.lock"


NOWHERE = "; ".join(
    f"mount --bind {place} {place}; mount -o remount,bind,ro {place}"
    for place in ("/run", "/var/tmp", "/tmp", "/dev/shm")
)


@needs_root
def test_without_any_usable_place_the_error_names_each_and_the_remedy() -> None:
    with Child(NOWHERE, program=OWN_RUN) as child:
        for ask in ("LeaderLock(name='x').acquire()", "LeaderLock(name='x').path"):
            with pytest.raises(ChildError, match="set LEADERLOCK_DIR to a directory") as caught:
                child.tell(ask)
            assert caught.value.kind == "LockFileUnusable"
            assert "/run/lock/leaderlock-0: Read-only file system" in caught.value.text
        assert "at no usable place" in child.tell("repr(LeaderLock(name='x'))")


@needs_root
@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("run --name x -- true", 125),
        ("run --name x -n -- true", 125),
        ("status --name x", 125),
        ("serve --name x --bind 127.0.0.1:0", 125),
        ("history --name x", 125),
        ("doctor", 2),
        ("doctor --name x", 2),
    ],
)
def test_without_any_usable_place_no_command_ends_in_a_traceback(command: str, status: int) -> None:
    with Child(NOWHERE, program=OWN_RUN) as child:
        run = child.tell(
            "__import__('subprocess').run([sys.executable, '-m', 'leaderlock', "
            f"*{command.split()!r}], capture_output=True, text=True, cwd='/').__dict__"
        )
    assert (run["returncode"], "Traceback" in run["stderr"]) == (status, False), run
    is_of_a_name_only = command.startswith(("status", "serve", "history"))
    assert is_of_a_name_only or "LEADERLOCK_DIR" in run["stdout"] + run["stderr"]


@needs_root
def test_a_lock_made_as_root_finds_the_users_place_once_root_is_dropped() -> None:
    with Child("", program=OWN_RUN) as child:
        child.tell(f"lock = LeaderLock(name='x')\n{become(NOBODY)}lock.acquire()")
        assert child.tell("lock.path") == f"/run/lock/leaderlock-{NOBODY}/x.lock"


def test_a_symlink_of_a_unit_into_its_private_directory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As systemd makes it for DynamicUser=.
    (tmp_path / "private" / "x").mkdir(parents=True, mode=0o755)
    (tmp_path / "x").symlink_to("private/x")
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "x"))
    with LeaderLock(name="jobs") as lock:
        assert lock.path == str(tmp_path / "x" / "leaderlock" / "jobs.lock")
        assert (tmp_path / "private" / "x" / "leaderlock" / "jobs.lock").exists()


@needs_root
def test_a_symlink_that_another_user_has_made_is_not_followed(
    open_to_all: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (open_to_all / "real").mkdir(mode=0o700)
    (open_to_all / "link").symlink_to("real")
    for user in (NOBODY, 0):  # of root's, too, in a directory where others may put one
        os.chown(open_to_all / "link", user, user, follow_symlinks=False)
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(open_to_all / "link"))
        with pytest.raises(UnsafeLockFile, match="leads through the symlink"):
            LeaderLock(name="x").acquire()
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(open_to_all / "link" / "below"))
        with pytest.raises(UnsafeLockFile, match="leads through the symlink"):
            LeaderLock(name="x").acquire()


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
def test_a_directory_below_one_that_others_can_write_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    above = tmp_path / "above"
    (above / "between" / "locks").mkdir(parents=True, mode=0o700)
    above.chmod(mode)
    monkeypatch.setenv("LEADERLOCK_DIR", str(above / "between" / "locks"))
    with pytest.raises(UnsafeLockFile, match=f"chmod go-w {re.escape(str(above))}"):
        LeaderLock(name="x").acquire()
    above.chmod(mode | 0o1000)  # sticky: nobody can rename what is ours
    with LeaderLock(name="x"):
        pass


@needs_root
def test_a_directory_below_one_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = tmp_path / "above"
    (above / "locks").mkdir(parents=True, mode=0o700)
    os.chown(above, NOBODY, NOBODY)
    monkeypatch.setenv("LEADERLOCK_DIR", str(above / "locks"))
    with pytest.raises(UnsafeLockFile, match=f"belongs to user {NOBODY}"):
        LeaderLock(name="x").acquire()


@needs_root
def test_a_directory_of_roots_will_do_for_a_file_that_the_user_owns(open_to_all: Path) -> None:
    place = open_to_all / "locks"
    place.mkdir(mode=0o755)
    (place / "x.lock").touch(mode=0o600)
    os.chown(place / "x.lock", NOBODY, NOBODY)
    with Child() as child:
        child.tell(f"{become(NOBODY)}os.environ['LEADERLOCK_DIR'] = {str(place)!r}")
        assert child.tell("LeaderLock(name='x').acquire()") is True
        with pytest.raises(ChildError, match="Permission denied"):
            child.tell("LeaderLock(name='y').acquire()")


@pytest.mark.parametrize("way", ["removed", "renamed"])
def test_a_directory_that_has_gone_is_made_again_at_the_next_try(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As that of a unit which is started again.
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o755)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(runtime))
    lock = LeaderLock(name="x")
    with Child() as standby:
        with lock:
            standby.begin("(lock := LeaderLock(name='x')).acquire()")
            until_parked(lock.path, standby.pid)
            if way == "removed":
                shutil.rmtree(runtime)
            else:
                runtime.rename(tmp_path / "old")
            runtime.mkdir(mode=0o755)
            with pytest.raises(LockFileReplaced):
                lock.check()
        assert standby.answer() is True
        assert (runtime / "leaderlock" / "x.lock").exists()
        assert lock.acquire(blocking=False) is False
        standby.tell("lock.release()")
        assert lock.acquire(blocking=False) is True
        lock.release()


def exchange(one: Path, other: Path) -> None:
    """Rename two directories in one step (renameat2(2)): there is never none of the name."""
    names = os.fsencode(one), os.fsencode(other)
    if ctypes.CDLL(None, use_errno=True).renameat2(-100, names[0], -100, names[1], 2) < 0:
        raise OSError(ctypes.get_errno(), "renameat2")


@pytest.mark.parametrize("way", ["removed", "renamed", "parent renamed"])
def test_a_leader_whose_directory_has_gone_leads_again_in_the_new_one(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, other = tmp_path / "parent" / "runtime", tmp_path / "other" / "runtime"
    for directory in (runtime, other):
        directory.mkdir(mode=0o755, parents=True)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(runtime))
    file = runtime / "leaderlock" / "moved.lock"
    with Child() as leader, Child() as standby:
        for child in (leader, standby):
            child.tell(
                "def task(leadership):\n"
                "    print('leads', flush=True)\n"
                "    while not leadership.wait(1000): pass\n"
                "leaderlock.Election(name='moved', backoff=(0.01, 0.01)).start(task)"
            )
            if child is leader:
                assert leader.line() == "leads"
        until_parked(file, standby.pid)
        if way == "removed":
            shutil.rmtree(runtime)
            runtime.mkdir(mode=0o755)
        elif way == "renamed":
            exchange(runtime, other)
        else:
            exchange(runtime.parent, other.parent)
        # The leader is told at once, and lets go; whoever waited for it finds the new file.
        until(lambda: file.exists() and len(flocks_of(file)) == 2, "both to stand by the new file")


@pytest.mark.parametrize("held_at", ["the users place", "an old place"])
@needs_root
def test_a_warning_says_that_the_name_is_held_elsewhere(held_at: str, tmp_path: Path) -> None:
    with Child("", program=OWN_RUN) as child:
        child.tell(become(NOBODY))
        if held_at == "an old place":
            child.tell("os.makedirs('/run/lock/xdg/leaderlock')")
            child.tell("old = LeaderLock('/run/lock/xdg/leaderlock/x.lock')")
            child.tell("os.environ['XDG_RUNTIME_DIR'] = '/run/lock/xdg'")
        else:
            child.tell("old = LeaderLock(name='x')")
        child.tell("old.acquire(); said = []")
        child.tell(
            "import logging; logging.getLogger('leaderlock').addFilter(lambda r: said.append(r))"
        )
        if held_at == "the users place":
            assert child.tell("LeaderLock(name='x').acquire(blocking=False)") is False
            assert child.tell("said") == []
            child.tell("os.environ['LEADERLOCK_DIR'] = '/run/lock/mine'")
        assert child.tell("(new := LeaderLock(name='x')).acquire()") is True
        [text] = child.tell("[record.getMessage() for record in said]")
        assert "do not exclude each other" in text
        assert child.tell("old.path") in text
        assert child.tell("new.path") in text
        assert ("unset LEADERLOCK_DIR" in text) == (held_at == "the users place")
        child.tell("new.release(); old.release(); said.clear()")
        assert child.tell("LeaderLock(name='x').acquire()") is True
        assert child.tell("said") == []


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "a\0b", "a\nb", "x" * 101, "/etc/passwd"]
)
def test_a_name_that_could_lead_elsewhere_is_refused_when_the_lock_is_made(name: str) -> None:
    with pytest.raises(ValueError, match="name must be"):
        LeaderLock(name=name)


@pytest.mark.parametrize("name", ["a", "a b", "ümlaut", "x" * 100, "a.b-c_d", "a:b"])
def test_any_other_name_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("LEADERLOCK_DIR", str(tmp_path / "locks"))
    with LeaderLock(name=name) as held:
        assert held.locked()
        assert (tmp_path / "locks" / f"{name}.lock").exists()
