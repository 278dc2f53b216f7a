"""flock(2) and the file: names, rights, kinds of files, what others may do. Without leaderlock."""

from __future__ import annotations

import errno
import os
import subprocess
from fcntl import LOCK_EX, LOCK_UN, flock
from pathlib import Path

import pytest

from tests.processes import forked, needs_root
from tests.raw_flock import is_free, mounted_at, takes

NOBODY = 65534


def test_a_hard_link_is_the_same_lock(path: Path, tmp_path: Path) -> None:
    path.touch()
    (tmp_path / "link").hardlink_to(path)
    with path.open("ab") as file:
        flock(file, LOCK_EX)
        assert not is_free(tmp_path / "link")


def test_a_symbolic_link_is_the_same_lock(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    with path.open("ab") as file:
        flock(file, LOCK_EX)
        assert not is_free(tmp_path / "link")


def test_the_lock_goes_with_the_file_when_that_is_renamed(path: Path, tmp_path: Path) -> None:
    with path.open("ab") as file:
        flock(file, LOCK_EX)
        path.rename(tmp_path / "new")
        assert not is_free(tmp_path / "new")


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_new_file_of_the_same_name_is_another_lock(path: Path, tmp_path: Path, how: str) -> None:
    with path.open("ab") as file:
        flock(file, LOCK_EX)
        if how == "deleted":
            path.unlink()
            path.touch()
        else:
            (tmp_path / "new").touch()
            (tmp_path / "new").replace(path)
        assert is_free(path)  # a second holder
        assert not is_free(Path(f"/proc/self/fd/{file.fileno()}"))


def test_a_lock_keeps_nobody_from_reading_writing_truncating_or_deleting(path: Path) -> None:
    with path.open("ab") as file:
        flock(file, LOCK_EX)

        def others_do_as_they_like() -> bool:
            os.close(file.fileno())
            path.write_bytes(b"written")
            written = path.read_bytes() == b"written"
            os.truncate(path, 0)
            path.unlink()
            return written

        assert forked(others_do_as_they_like) == 0


def test_a_descriptor_that_may_only_read_can_be_locked_exclusively(path: Path) -> None:
    path.touch()
    with path.open("rb") as file, path.open("rb") as other:
        assert takes(file.fileno())
        assert not takes(other.fileno())


@pytest.mark.skipif(os.geteuid() != 0, reason=needs_root)
def test_whoever_may_read_the_file_can_keep_its_lock(path: Path) -> None:
    path.touch(mode=0o644)
    path.parent.chmod(0o755)

    def nobody_locks() -> bool:
        os.chdir(path.parent)  # the directories above are closed to others
        os.setuid(NOBODY)
        with pytest.raises(PermissionError):
            os.open(path.name, os.O_WRONLY)
        return takes(os.open(path.name, os.O_RDONLY))

    assert forked(nobody_locks) == 0


def test_a_file_on_a_read_only_file_system_can_be_locked(tmp_path: Path) -> None:
    with mounted_at(tmp_path / "mount", "-t", "tmpfs", "tmpfs") as place:
        (place / "lock").touch()
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        with pytest.raises(OSError) as caught:
            (place / "lock").open("ab")
        assert caught.value.errno == errno.EROFS
        with (place / "lock").open("rb") as file:
            assert takes(file.fileno())
            assert not is_free(place / "lock")


def test_a_directory_can_be_locked(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert takes(fd)
        assert not is_free(tmp_path)
    finally:
        os.close(fd)


def test_a_memory_file_can_be_locked() -> None:
    fd = os.memfd_create("lock")
    try:
        assert takes(fd)
        assert not is_free(Path(f"/proc/self/fd/{fd}"))
    finally:
        os.close(fd)


def test_a_descriptor_that_is_only_a_place_in_the_tree_cannot_be_locked(path: Path) -> None:
    path.touch()
    fd = os.open(path, os.O_PATH)
    try:
        with pytest.raises(OSError) as caught:
            flock(fd, LOCK_EX)
        assert caught.value.errno == errno.EBADF
        with open(f"/proc/self/fd/{fd}", "rb") as file:
            assert takes(file.fileno())
            flock(file, LOCK_UN)
    finally:
        os.close(fd)
