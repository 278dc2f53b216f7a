"""Root gives a lock file to another user only where nobody else can have had a hand in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from leaderlock import CorruptLockFile, LeaderLock, LeaderLockError, LockFileUnusable, UnsafeLockFile
from leaderlock.integrations.handover import hand_over

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

USER, GROUP, THIRD = 65534, 65533, 65532


def owner(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid, status.st_mode & 0o777


def test_a_missing_file_is_made_for_the_user(path: Path) -> None:
    hand_over(str(path), USER, GROUP)
    assert owner(path) == (USER, GROUP, 0o600)


def test_an_empty_file_of_roots_is_given_to_the_user(path: Path) -> None:
    path.touch(mode=0o644)
    hand_over(str(path), USER, GROUP)
    assert owner(path) == (USER, GROUP, 0o600)


def test_a_lock_file_is_given_to_the_user_with_its_record_while_it_is_held(path: Path) -> None:
    with LeaderLock(path) as held:
        assert held.locked()
        before = path.read_bytes()
        hand_over(str(path), USER, GROUP)
        assert path.read_bytes() == before
    assert owner(path) == (USER, GROUP, 0o600)


def test_a_file_that_is_the_users_already_is_left_as_it_is(path: Path) -> None:
    path.write_text("whatever")
    path.chmod(0o640)
    os.chown(path, USER, 0)
    hand_over(str(path), USER, GROUP)
    assert owner(path) == (USER, 0, 0o640)


def make_symlink(path: Path) -> None:
    (path.parent / "target").touch(mode=0o600)
    path.symlink_to("target")


def make_hard_link(path: Path) -> None:
    (path.parent / "target").touch(mode=0o600)
    os.link(path.parent / "target", path)


def make_other_content(path: Path) -> None:
    path.write_text("root:x:0:0:root:/root:/bin/sh\n")
    path.chmod(0o600)


def make_third_users(path: Path) -> None:
    path.touch(mode=0o600)
    os.chown(path, THIRD, THIRD)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (make_symlink, UnsafeLockFile),
        (make_hard_link, UnsafeLockFile),
        (make_other_content, CorruptLockFile),
        (make_third_users, UnsafeLockFile),
        (Path.mkdir, UnsafeLockFile),
        (os.mkfifo, UnsafeLockFile),
    ],
)
def test_what_is_not_clearly_a_lock_file_of_roots_is_refused(
    path: Path, make: object, error: type[LeaderLockError]
) -> None:
    assert callable(make)
    make(path)
    before = owner(path)
    with pytest.raises(error, match=str(path)):
        hand_over(str(path), USER, GROUP)
    assert owner(path) == before
    target = path.parent / "target"
    assert not target.exists() or owner(target) == (0, 0, 0o600)


@pytest.mark.parametrize(("mode", "user"), [(0o777, 0), (0o1777, 0), (0o775, 0), (0o755, USER)])
def test_nothing_is_made_where_others_may_write(path: Path, mode: int, user: int) -> None:
    path.parent.chmod(mode)
    os.chown(path.parent, user, user)
    hand_over(str(path), USER, GROUP)
    assert not path.exists()


def test_nothing_is_made_under_a_directory_that_others_can_replace(tmp_path: Path) -> None:
    theirs, inner = tmp_path / "theirs", tmp_path / "theirs" / "inner"
    inner.mkdir(parents=True)
    os.chown(theirs, THIRD, THIRD)
    hand_over(str(inner / "leader.lock"), USER, GROUP)
    assert not list(inner.iterdir())


def test_a_symlink_of_somebody_else_on_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "roots").mkdir()
    link = tmp_path / "link"
    link.symlink_to("roots")
    hand_over(str(link / "leader.lock"), USER, GROUP)
    assert (tmp_path / "roots" / "leader.lock").exists(), "a symlink of root's is in order"
    os.lchown(link, THIRD, THIRD)
    hand_over(str(link / "other.lock"), USER, GROUP)
    assert not (tmp_path / "roots" / "other.lock").exists()


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "missing" / "leader.lock")
    with pytest.raises(LockFileUnusable, match="make its directory first") as caught:
        hand_over(path, USER, GROUP)
    assert caught.value.filename == path
