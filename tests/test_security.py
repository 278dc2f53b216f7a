"""Attacks of other local users that no other file has; docs/security.md lists all of them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from leaderlock import CorruptLockFile, LeaderLock
from leaderlock.diagnosis.finding import Finding
from leaderlock.diagnosis.place import on_file
from leaderlock.engines.catalogue import engine_of
from leaderlock.engines.tiers import TieredEngine
from leaderlock.lock.claim import is_readable_by_strangers, read_claim, write_claim
from tests.processes import Child, ChildError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
NOBODY = 65534


def as_nobody(*arguments: str | Path) -> Child:
    child = Child(*arguments)
    child.tell("import fcntl")
    child.tell(f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})")
    return child


def of_file(path: Path) -> Finding:
    (finding,) = on_file(str(path))
    return finding


def test_a_hard_link_to_another_file_with_content_is_not_written_to(shared: Path) -> None:
    # Where fs.protected_hardlinks is 0, a user can give a victim's file a second name in /tmp.
    victim, path = shared / "authorized_keys", shared / "app.lock"
    victim.write_text("ssh-ed25519 AAAA somebody\n" * 40)
    before = victim.read_bytes()
    os.link(victim, path)
    for way in (LeaderLock(path).acquire, LeaderLock(path).__enter__):
        with pytest.raises(CorruptLockFile, match="choose another path"):
            way()
    assert victim.read_bytes() == before


@needs_root
def test_whoever_may_not_read_the_lock_file_cannot_keep_it(shared: Path) -> None:
    path = shared / "app.lock"
    with LeaderLock(path):
        pass
    with as_nobody(path) as child:
        for flags in ("os.O_RDONLY", "os.O_WRONLY", "os.O_RDWR"):
            with pytest.raises(ChildError, match="Permission denied"):
                child.tell(f"os.open(argv[0], {flags})")
    assert of_file(path).verdict == "good"


@needs_root
def test_whoever_may_read_the_lock_file_can_keep_it_and_the_doctor_says_so(shared: Path) -> None:
    shared.chmod(0o1777)
    path = shared / "app.lock"
    with LeaderLock(path, mode=0o644):
        pass
    with as_nobody(path) as child:
        child.tell("fcntl.flock(os.open(argv[0], os.O_RDONLY), fcntl.LOCK_EX)")
        assert not LeaderLock(path).acquire(blocking=False)  # a fact of flock(2)
        with pytest.raises(ChildError, match="Permission denied"):
            child.tell("os.open(argv[0], os.O_RDWR)")  # and yet no record can be forged
    finding = of_file(path)
    assert finding.verdict == "doubtful"
    assert "lock it" in finding.text
    assert finding.remedy == f"chmod o-r {path}"
    subprocess.run(finding.remedy, shell=True, check=True)
    assert of_file(path).verdict == "good"


def test_a_lock_file_that_others_cannot_reach_may_be_readable(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    path = tmp_path / "app.lock"
    with LeaderLock(path, mode=0o644):
        pass
    assert of_file(path).verdict == "good"


@pytest.mark.parametrize(
    ("mode", "keeps"),
    [(0o600, True), (0o660, True), (0o622, True), (0o640, False), (0o644, False), (0o666, False)],
)
def test_a_sessions_secret_is_not_kept_where_others_read_it(
    path: Path, caplog: pytest.LogCaptureFixture, mode: int, keeps: bool
) -> None:
    pytest.importorskip("redis")
    lock = LeaderLock(path, mode=mode)
    engine = engine_of("redis://localhost:1/0#name", 6.0)
    tenure = TieredEngine(lock, engine).tenure()  # type: ignore[arg-type]
    proof = {"session": 1, "password": "of this leader"}
    tenure._remote = SimpleNamespace(claim=SimpleNamespace(proof=proof))  # type: ignore[assignment]
    with lock:
        write_claim(lock, {"session": 2, "password": "of an earlier one"})
        tenure._keep_claim()
        assert is_readable_by_strangers(lock) is not keeps
        assert read_claim(lock) == (proof if keeps else None)
        assert b"of an earlier one" not in path.read_bytes()
        assert (b"of this leader" in path.read_bytes()) is keeps
    assert ("set mode 0600" in caplog.text) is not keeps


def test_a_module_in_the_current_directory_is_not_imported_by_the_script(tmp_path: Path) -> None:
    for name in ("json", "signal", "select", "psutil", "rich", "leaderlock"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stranger was imported')\n")
    script = Path(sys.executable).with_name("leaderlock")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    for words in (["run", "--lock", str(tmp_path / "x.lock"), "--", "true"], ["status", "--json"]):
        found = subprocess.run(
            [script, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert (found.returncode, found.stderr) == (0, "")


def test_a_writer_who_holds_a_stale_descriptor_holds_nothing(shared: Path) -> None:
    # A user who could once write to the directory has planted a file, and keeps its descriptor.
    path = shared / "app.lock"
    planted = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.unlink(path)
        fcntl.flock(planted, fcntl.LOCK_EX)
        with LeaderLock(path) as lock:
            assert lock.term == 1
        os.write(planted, b"forged")
        assert b"forged" not in path.read_bytes()
    finally:
        os.close(planted)
