"""`name=`: the same private directory for every process of a user, or a refusal."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from leaderlock import LeaderLock, LockFileUnusable, UnsafeLockFile
from tests.processes import Child, ChildError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
NOBODY = 65534
# With what it needs imported first: he may not be able to read this interpreter's directory.
BECOME_NOBODY = f"import tempfile; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"


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


def test_the_order_of_the_places_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, place in (
        ("XDG_RUNTIME_DIR", tmp_path / "xdg"),
        ("RUNTIME_DIRECTORY", tmp_path / "runtime"),
        ("LEADERLOCK_DIR", tmp_path / "chosen"),
    ):
        place.mkdir(mode=0o700)
        monkeypatch.setenv(variable, str(place))
        path = Path(LeaderLock(name="x").path)
        expected = place / "leaderlock" if variable == "XDG_RUNTIME_DIR" else place
        assert path == expected / "x.lock"


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
def test_a_user_without_a_place_of_his_own_gets_a_temporary_one(
    open_to_all: Path,
) -> None:
    with Child() as child:
        child.tell(BECOME_NOBODY + f"os.environ['TMPDIR'] = {str(open_to_all)!r}")
        expected = open_to_all / f"leaderlock-{NOBODY}"
        assert child.tell("LeaderLock(name='x').path") == str(expected / "x.lock")
        assert expected.stat().st_uid == NOBODY
        assert expected.stat().st_mode & 0o777 == 0o700


@needs_root
def test_a_place_in_the_temporary_directory_that_another_user_was_first_to_make_is_refused(
    open_to_all: Path,
) -> None:
    (open_to_all / f"leaderlock-{NOBODY}").mkdir(mode=0o777)
    with Child() as child:
        child.tell(BECOME_NOBODY + f"os.environ['TMPDIR'] = {str(open_to_all)!r}")
        with pytest.raises(ChildError, match="belongs to user 0") as caught:
            child.tell("LeaderLock(name='x').acquire()")
        assert caught.value.kind == "UnsafeLockFile"
        assert "LEADERLOCK_DIR" in caught.value.text


@needs_root
def test_a_lock_made_as_root_finds_the_users_place_once_root_is_dropped(
    open_to_all: Path,
) -> None:
    with Child() as child:
        child.tell(
            f"os.environ['TMPDIR'] = {str(open_to_all)!r}\n"
            "lock = LeaderLock(name='leaderlock-test-only')\n"
            f"{BECOME_NOBODY}lock.acquire()"
        )
        assert child.tell("lock.path") == f"{open_to_all}/leaderlock-{NOBODY}/leaderlock-test-only.lock"


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
