"""`filesystem` tells what lies behind a path, whatever the path and the mount look like."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from leaderlock.kernel import filesystem
from leaderlock.kernel.filesystems.local import judge
from tests.filesystems import LOCAL, made
from tests.processes import forked, needs_root, until
from tests.raw_flock import mounted_at

KIND_AND_VERDICT = {
    **{kind: (kind, "good") for kind in LOCAL},
    "fuse-local": ("fuse.test", "doubtful"),
    "fuse-refused": ("fuse.test", "doubtful"),
}


@pytest.mark.parametrize("made_kind", KIND_AND_VERDICT)
def test_it_knows_the_file_systems_that_this_kernel_mounts(tmp_path: Path, made_kind: str) -> None:
    kind, verdict = KIND_AND_VERDICT[made_kind]
    with made(made_kind, tmp_path) as place:
        for path in (place, place / "leader.lock", place / "not" / "there" / "yet"):
            found = filesystem(path)
            assert (found.kind, found.verdict, found.mount_point) == (kind, verdict, str(place))
            assert (found.path, found.read_only) == (str(place), False)
            assert found.explanation


@pytest.mark.parametrize("made_kind", KIND_AND_VERDICT)
def test_without_proc_it_still_knows_the_kind(tmp_path: Path, made_kind: str) -> None:
    kind, verdict = KIND_AND_VERDICT[made_kind]
    with made(made_kind, tmp_path) as place:
        found = told_without_proc(place / "leader.lock")
    assert (found["kind"], found["verdict"]) == (kind.partition(".")[0], verdict)
    assert found["mount_point"] is None


def told_without_proc(path: Path) -> dict[str, object]:
    program = (
        "import json, sys, dataclasses; from leaderlock.kernel import filesystem; "
        "print(json.dumps(dataclasses.asdict(filesystem(sys.argv[1]))))"
    )
    script = 'umount -l /proc && exec "$@"'
    words = ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", program, str(path)]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    told: dict[str, object] = json.loads(run.stdout)
    return told


@pytest.mark.parametrize("name", ["with blanks", "line\nend", "tab\tand \\040", "ümlaut", "a - b"])
def test_a_mount_point_may_have_any_name(tmp_path: Path, name: str) -> None:
    with mounted_at(tmp_path / name, "-t", "tmpfs", "a source, b") as place:
        found = filesystem(place / "leader.lock")
        assert (found.kind, found.mount_point, found.source) == ("tmpfs", str(place), "a source, b")


def test_a_name_that_is_no_text_is_no_obstacle(tmp_path: Path) -> None:
    name = os.fsdecode(b"not utf-8: \xff")
    with mounted_at(tmp_path / name, "-t", "tmpfs", "tmpfs") as place:
        assert filesystem(place).mount_point == str(place)


def test_a_read_only_mount_is_broken(tmp_path: Path) -> None:
    with mounted_at(tmp_path / "place", "-t", "tmpfs", "-o", "ro", "tmpfs") as place:
        found = filesystem(place / "leader.lock")
    assert (found.read_only, found.verdict) == (True, "broken")
    assert "read-only" in found.explanation
    assert "read-write" in found.remedy


def test_a_read_only_bind_mount_of_a_writable_file_system_is_broken(tmp_path: Path) -> None:
    with mounted_at(tmp_path / "place", "-o", "bind,ro", tmp_path) as place:
        assert filesystem(place).verdict == "broken"
        assert filesystem(place).root == str(tmp_path)
    assert filesystem(tmp_path).verdict == "good"


def test_a_symlink_leads_to_the_file_system_of_its_target(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc/self")
    assert filesystem(tmp_path / "link").kind == "proc"


def test_the_kernels_own_file_systems_are_broken() -> None:
    assert filesystem("/proc/x").verdict == "broken"


def test_a_path_without_rights_is_answered_by_its_mount_point(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    with mounted_at(tmp_path / "place", "-t", "tmpfs", "-o", "mode=0700", "tmpfs") as place:
        tmp_path.chmod(0o755)

        def asks() -> bool:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            found = filesystem(place / "inside" / "leader.lock")
            return found.verdict == "broken" and "Permission denied" in found.explanation

        assert forked(asks) == 0


def test_a_fuse_server_that_has_died_is_broken(tmp_path: Path) -> None:
    with made("fuse-local", tmp_path) as place:
        server = next(pid for pid in pids() if str(place) in command_of(pid))
        os.kill(server, signal.SIGKILL)
        until(lambda: filesystem(place).verdict == "broken", "its file system to be dead")
        found = filesystem(place / "leader.lock")
        assert (found.kind, found.verdict, found.mount_point) == ("fuse.test", "broken", str(place))
        assert "cannot be looked at" in found.explanation


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def command_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")
    except OSError:
        return []


def test_a_path_that_vanishes_meanwhile_is_no_error(tmp_path: Path) -> None:
    place = tmp_path / "comes" / "and" / "goes"
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            os.makedirs(place)
            for directory in (place, place.parent, place.parent.parent):
                directory.rmdir()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        assert {filesystem(place / "leader.lock").verdict for _ in range(500)} == {"good"}
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path must name"):
        filesystem(path)


@pytest.mark.parametrize(
    ("kind", "options", "verdict", "keeper", "shared"),
    [
        ("nfs", "vers=3,local_lock=none", "doubtful", "server", True),
        ("nfs", "vers=3,local_lock=posix", "doubtful", "server", True),
        ("nfs", "vers=3,nolock,local_lock=all", "doubtful", "kernel", True),
        ("nfs", "vers=3,local_lock=flock", "doubtful", "kernel", True),
        ("nfs4", "vers=4.2,local_lock=none", "doubtful", "server", True),
        ("nfs4", "vers=4.0,local_lock=flock", "doubtful", "kernel", True),
        ("cifs", "vers=3.1.1,nobrl", "doubtful", "kernel", True),
        ("smb3", "vers=3.1.1", "doubtful", "server", True),
        ("9p", "trans=virtio,access=client", "doubtful", "kernel", True),
        ("9p", "trans=virtio,cache=none", "doubtful", "kernel", True),
        ("9p", "trans=virtio,cache=loose", "broken", "kernel", True),
        ("virtiofs", "rw", "doubtful", "kernel", True),
        ("lustre", "rw,flock", "doubtful", "server", True),
        ("lustre", "rw,localflock", "doubtful", "kernel", True),
        ("lustre", "rw,noflock", "broken", "nobody", True),
        ("lustre", "rw", "broken", "nobody", True),
        ("gfs2", "rw,localflocks", "doubtful", "kernel", True),
        ("gfs2", "rw", "doubtful", "server", True),
        ("ocfs2", "rw", "doubtful", "server", True),
        ("ceph", "rw", "doubtful", "server", True),
        ("afs", "rw", "doubtful", "server", True),
        ("vboxsf", "rw", "doubtful", "kernel", True),
        ("fuse.s3fs", "rw", "broken", "kernel", True),
        ("fuse.sshfs", "rw", "doubtful", "kernel", True),
        ("fuse.fuse-overlayfs", "rw", "good", "kernel", False),
        ("somethingfs", "rw", "doubtful", "unknown", False),
        ("squashfs", "ro", "broken", "nobody", False),
    ],
)
def test_the_judgement_on_what_this_kernel_cannot_mount(
    kind: str, options: str, verdict: str, keeper: str, shared: bool
) -> None:
    judged = judge(kind, frozenset(options.split(",")))
    assert (judged.verdict, judged.keeper, judged.shared) == (verdict, keeper, shared)
    assert judged.explanation.endswith(".")
    assert judged.remedy or verdict == "good"


def test_every_file_system_that_this_kernel_knows_has_a_judgement() -> None:
    for line in Path("/proc/filesystems").read_text(encoding="ascii").splitlines():
        assert judge(line.split()[-1], frozenset()).explanation
