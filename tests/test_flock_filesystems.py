"""flock(2) on file systems that stand on others: bind mounts, overlay, FUSE. Without leaderlock."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from fcntl import LOCK_EX, LOCK_SH, LOCK_UN, flock
from pathlib import Path

import pytest

from tests.filesystems import LOCAL, made
from tests.processes import Child, flocks_of, needs_root, until
from tests.raw_flock import is_free, locked, mounted_at


@pytest.mark.parametrize("kind", LOCAL)
def test_the_local_file_systems_agree(tmp_path: Path, kind: str) -> None:
    with made(kind, tmp_path) as place, locked(place / "lock") as first:
        assert not is_free(place / "lock", LOCK_SH)
        first.kill()
        assert is_free(place / "lock")


def test_a_bind_mount_is_the_same_lock(path: Path, tmp_path: Path) -> None:
    path.touch()
    with mounted_at(tmp_path / "elsewhere", "--bind", tmp_path) as place, path.open("ab") as file:
        flock(file, LOCK_EX)
        assert not is_free(place / path.name)


@contextlib.contextmanager
def overlay(directory: Path, name: str, options: str = "index=off") -> Iterator[Path]:
    """An overlay of its own on `directory / "lower"`, as each container has one on its image."""
    upper = directory / f"{name}-upper"
    with mounted_at(upper, "-t", "tmpfs", "tmpfs"):  # not every file system may be an upper layer
        for part in ("files", "work"):
            (upper / part).mkdir()
        layers = f"lowerdir={directory / 'lower'},upperdir={upper / 'files'},workdir={upper / 'work'}"
        with mounted_at(
            directory / name, "-t", "overlay", "-o", f"{layers},{options}", "test"
        ) as place:
            yield place


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    (tmp_path / "lower").mkdir()
    (tmp_path / "lower" / "lock").touch()
    return tmp_path / "lower"


def test_two_overlays_of_one_file_do_not_exclude_each_other(tmp_path: Path, lower: Path) -> None:
    with (
        overlay(tmp_path, "one") as one,
        overlay(tmp_path, "two") as two,
        (one / "lock").open("rb") as file,
    ):
        flock(file, LOCK_EX)
        assert not is_free(one / "lock")
        assert is_free(two / "lock")


def test_an_overlay_and_the_layers_beneath_it_do_not_exclude_each_other(
    tmp_path: Path, lower: Path
) -> None:
    with overlay(tmp_path, "one") as one, (one / "lock").open("ab") as file:
        flock(file, LOCK_EX)
        assert not is_free(one / "lock")
        assert is_free(lower / "lock")
        assert is_free(tmp_path / "one-upper" / "files" / "lock")


def test_a_lock_that_was_taken_before_the_copy_up_holds_after_it(tmp_path: Path, lower: Path) -> None:
    with overlay(tmp_path, "one") as one, (one / "lock").open("rb") as early:
        flock(early, LOCK_EX)
        copy = tmp_path / "one-upper" / "files" / "lock"
        assert not copy.exists()
        (one / "lock").write_bytes(b"copied up")
        assert copy.exists()
        assert not is_free(one / "lock")
        assert early.read() == b"copied up"


@pytest.mark.parametrize(("index", "free"), [("off", True), ("on", False)])
def test_hard_links_of_a_lower_layer_are_one_lock_only_with_an_index(
    tmp_path: Path, lower: Path, index: str, free: bool
) -> None:
    (lower / "link").hardlink_to(lower / "lock")
    with overlay(tmp_path, "one", f"index={index}") as one, (one / "lock").open("rb") as file:
        flock(file, LOCK_EX)
        assert is_free(one / "link") is free


@contextlib.contextmanager
def fuse(directory: Path, name: str, mode: str) -> Iterator[tuple[Path, Child]]:
    """A FUSE file system with one file, and its server, which says what it is asked for."""
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("there is no /dev/fuse")
    place = directory / name
    place.mkdir()
    program = Path(__file__).with_name("fuse_server.py")
    with Child(place, directory / "beneath", mode, program=program) as server:
        try:
            assert server.line() == "mounted"
        except EOFError:
            pytest.skip("may not mount a FUSE file system")
        try:
            yield place / "lock", server
        finally:
            subprocess.run(["umount", "-l", place], check=True)
            server.wait()


def test_fuse_locks_in_the_kernel_if_the_server_does_not_ask_for_locks(tmp_path: Path) -> None:
    with fuse(tmp_path, "one", "local") as (one, server), fuse(tmp_path, "two", "local") as (two, _):
        with one.open("ab") as file:
            flock(file, LOCK_EX)
            assert flocks_of(one) == [(os.getpid(), False)]
            assert not is_free(one)
            assert is_free(two)  # another mount, as on another machine
        assert server.is_silent(0)


def test_fuse_asks_a_server_that_wants_to_be_asked(tmp_path: Path) -> None:
    with fuse(tmp_path, "one", "asked") as (one, server), fuse(tmp_path, "two", "asked") as (two, _):
        with one.open("ab") as file:
            flock(file, LOCK_EX)
            assert server.line() == str(int(LOCK_EX))
            assert not is_free(two)
            assert flocks_of(one) == []  # the kernel's table knows nothing of it
            flock(file, LOCK_UN)
            assert server.line() == str(int(LOCK_UN))
            flock(file, LOCK_EX)
        until(lambda: is_free(two), "the server to learn of the close, which does not wait for it")


def test_a_fuse_server_that_asks_for_locks_and_has_none_refuses_them(tmp_path: Path) -> None:
    with fuse(tmp_path, "one", "unanswered") as (one, _), one.open("ab") as file:
        with pytest.raises(OSError) as caught:
            flock(file, LOCK_EX)
        assert caught.value.errno == errno.ENOSYS
