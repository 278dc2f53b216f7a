"""`leaderlock doctor` is right on each kind of place, says so by its status, and leaves nothing."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import leaderlock.cli
from leaderlock import CorruptLockFile, LeaderLock
from leaderlock.cli.doctor import STATUS
from leaderlock.cli.doctor_text import as_text
from leaderlock.diagnosis import Diagnosis, diagnose
from leaderlock.diagnosis.place import on_directory
from leaderlock.kernel import filesystem
from leaderlock.wording import printable
from tests.filesystems import LOCAL, made
from tests.processes import needs_root, until
from tests.raw_flock import mounted_at

SCHEMA = json.loads(Path(leaderlock.cli.__file__).with_name("doctor.schema.json").read_text("utf-8"))
PROGRAM = [sys.executable, "-m", "leaderlock", "doctor"]


def doctor(*words: str | Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *map(str, words)], capture_output=True, text=True, **settings)


def told(*words: str | Path, **settings: Any) -> dict[str, Any]:
    """The document, which has its form, and goes with the exit status."""
    run = doctor("--json", *words, **settings)
    assert run.stderr == ""
    document: dict[str, Any] = json.loads(run.stdout)
    jsonschema.validate(document, SCHEMA)
    assert run.returncode == STATUS[document["verdict"]]
    return document


def findings(document: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {finding["topic"]: finding for finding in document["findings"]}


@pytest.mark.parametrize("kind", LOCAL)
def test_it_is_right_on_local_file_systems(tmp_path: Path, kind: str) -> None:
    with made(kind, tmp_path) as place:
        place.chmod(0o700)
        before = sorted(os.listdir(place))
        document = told(place / "leader.lock")
        assert sorted(os.listdir(place)) == before
    assert document["verdict"] == "good"
    assert document["filesystem"]["kind"] == kind
    assert len(document["experiments"]) == 9
    assert all(result["passed"] for result in document["experiments"])


def test_it_is_right_on_a_fuse_mount_without_flock(tmp_path: Path) -> None:
    with made("fuse-refused", tmp_path) as place:
        document = told(place / "leader.lock")
    assert document["verdict"] == "broken"
    assert document["findings"][0]["topic"] == "flock"
    assert "ENOSYS" in document["findings"][0]["text"]
    assert document["findings"][0]["remedy"]


def test_it_is_right_on_a_fuse_mount_whose_flock_is_the_kernels(tmp_path: Path) -> None:
    with made("fuse-local", tmp_path) as place:
        document = told(place / "leader.lock")
    assert document["verdict"] == "doubtful"
    assert document["findings"][0]["topic"] == "file system"
    assert all(result["passed"] for result in document["experiments"])


def test_it_is_right_on_a_read_only_mount(tmp_path: Path) -> None:
    with mounted_at(tmp_path / "place", "-t", "tmpfs", "-o", "ro", "tmpfs") as place:
        document = told(place / "leader.lock")
    assert document["verdict"] == "broken"
    assert document["findings"][0]["topic"] == "file system"
    assert "read-only" in document["findings"][0]["text"]
    assert document["experiments"] == []


def test_a_directory_of_another_user_is_doubtful_where_it_can_be_written(tmp_path: Path) -> None:
    place = foreign(tmp_path)
    document = told(place / "leader.lock")
    assert document["verdict"] == "doubtful"
    assert "belongs to user 12345" in findings(document)["directory"]["text"]


def test_a_directory_under_one_of_another_user_is_doubtful_too(tmp_path: Path) -> None:
    place = foreign(tmp_path) / "ours"
    place.mkdir(mode=0o700)
    document = told(place / "leader.lock")
    assert document["verdict"] == "doubtful"
    assert f"{place.parent}, above it, belongs to user 12345" in findings(document)["directory"]["text"]


def foreign(directory: Path) -> Path:
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    place = directory / "theirs"
    place.mkdir(mode=0o755)
    os.chown(place, 12345, 12345)
    return place


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory of root's that others can look into, as pytest's are not."""
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_a_directory_that_may_not_be_written_is_broken(public: Path) -> None:
    document = as_user(12345, public / "leader.lock")
    assert document["verdict"] == "broken"
    assert "User 12345 may not write" in findings(document)["directory"]["text"]
    assert document["experiments"] == []


def test_a_path_without_rights_is_broken_and_says_what_it_can(public: Path) -> None:
    (public / "closed").mkdir(mode=0o700)
    document = as_user(12345, public / "closed" / "inside" / "leader.lock")
    assert document["verdict"] == "broken"
    assert "Permission denied" in findings(document)["directory"]["text"]
    assert document["filesystem"]["mount_point"] is not None
    assert findings(document)["file system"]["remedy"].startswith("give this user the right")


def as_user(user: int, path: Path) -> dict[str, Any]:
    program = (
        "import importlib.util, json, os, sys; from leaderlock.cli.doctor import document, diagnose\n"
        f"os.setgroups([]); os.setgid({user}); os.setuid({user})\n"
        "print(json.dumps(document(diagnose(sys.argv[1]))))"
    )
    words = [sys.executable, "-c", program, str(path)]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    document: dict[str, Any] = json.loads(run.stdout)
    jsonschema.validate(document, SCHEMA)
    return document


@pytest.mark.parametrize(
    ("mode", "verdict", "words"),
    [
        (0o700, "good", "nobody else can delete"),
        (0o755, "good", "nobody else can delete"),
        (0o775, "doubtful", "can be written by group"),
        (0o777, "doubtful", "can be written by anyone"),
        (0o1777, "doubtful", "sticky bit"),
    ],
)
def test_the_directorys_mode_is_judged(tmp_path: Path, mode: int, verdict: str, words: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(mode)
    finding = findings(told(place))["directory"]
    assert finding["verdict"] == verdict
    assert words in finding["text"]
    assert bool(finding["remedy"]) == (verdict != "good")


def test_a_directory_that_is_missing_is_broken_and_not_made(tmp_path: Path) -> None:
    document = told(tmp_path / "not" / "leader.lock")
    assert document["verdict"] == "broken"
    assert "does not exist" in document["findings"][0]["text"]
    assert os.listdir(tmp_path) == []


def test_a_directory_that_comes_and_goes_meanwhile_is_no_error(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "while os.getppid() == int(sys.argv[2]):\n"
        "    try: os.makedirs(sys.argv[1], exist_ok=True); os.removedirs(sys.argv[1])\n"
        "    except OSError: pass"  # an experiment lies in it
    )
    (tmp_path / "stays").touch()
    place = tmp_path / "comes" / "and" / "goes"
    seen: set[str] = set()

    def seen_both() -> bool:
        seen.add(on_directory(str(place), filesystem(place)).verdict)
        return seen == {"good", "broken"}

    words = [sys.executable, "-c", program, str(place), str(os.getpid())]
    with subprocess.Popen(words) as process:
        try:
            verdicts = {diagnose(place / "leader.lock").verdict for _ in range(10)}
            until(seen_both, "the directory to be there, and not to be there")
        finally:
            process.kill()
    assert verdicts <= {"good", "broken"}


def test_a_lock_file_that_leaderlock_would_refuse_is_broken(path: Path) -> None:
    path.symlink_to("elsewhere")
    assert "symlink" in findings(told(path))["lock file"]["text"]
    path.unlink()
    os.mkfifo(path)
    assert findings(told(path))["lock file"]["verdict"] == "broken"
    path.unlink()
    path.touch()
    assert findings(told(path))["lock file"]["verdict"] == "good"
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
        assert "belongs to user 12345" in findings(told(path))["lock file"]["text"]
        assert told(path)["verdict"] == "broken"
    assert path.exists()


@pytest.mark.parametrize("content", [b"127.0.0.1 localhost\n", b"\0" * 512, b"leaderlock 1 "])
def test_a_file_that_holds_something_else_than_a_record_is_broken(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    finding = findings(told(path))["lock file"]
    assert finding["verdict"] == "broken"
    assert "something else than a leaderlock record" in finding["text"]
    with pytest.raises(CorruptLockFile):  # so it is
        LeaderLock(path).acquire()
    assert path.read_bytes() == content


def test_a_lock_file_that_was_used_is_good(path: Path) -> None:
    with LeaderLock(path):
        assert findings(told(path))["lock file"]["verdict"] == "good"
    assert findings(told(path))["lock file"]["verdict"] == "good"


def test_a_full_file_system_is_broken(tiny: Path) -> None:
    with (tiny / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):  # ENOSPC
        while True:
            file.write(bytes(4096))
    document = told(tiny / "leader.lock")
    assert document["verdict"] == "broken"
    assert "full" in findings(document)["space"]["text"]


def test_a_tmp_cleaner_is_found_where_systemd_runs(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    line = f"d {tmp_path} - - - 10d"
    script = (
        "mount -t tmpfs tmpfs /run && mkdir -p /run/tmpfiles.d /run/systemd/system && "
        'printf %s "$1" >/run/tmpfiles.d/test.conf && shift && exec "$@"'
    )
    words = ["unshare", "--mount", "sh", "-c", script, "sh", line, *PROGRAM, "--json"]
    run = subprocess.run([*words, str(tmp_path / "leader.lock")], capture_output=True, text=True)
    finding = findings(json.loads(run.stdout))["tmp cleaner"]
    assert line in finding["text"]
    assert "10 days" in finding["text"]
    if "even while they are locked" in finding["text"]:  # as up to systemd 253
        assert run.returncode == 1
        assert f"x {tmp_path / 'leader.lock'}" in finding["remedy"]
    else:
        assert "not while they are locked" in finding["text"]


def test_a_sessions_directory_goes_with_the_session(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    script = 'mount -t tmpfs tmpfs /run && mkdir -p -m 0700 /run/user/12345 && exec "$@"'
    words = ["unshare", "--mount", "sh", "-c", script, "sh", *PROGRAM, "--json", "/run/user/12345"]
    run = subprocess.run(words, capture_output=True, text=True)
    finding = findings(json.loads(run.stdout))["tmp cleaner"]
    assert finding["verdict"] == "doubtful"
    assert "enable-linger" in finding["remedy"]


def test_without_proc_it_says_what_will_not_work(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    run = in_mount_namespace("umount -l /proc", tmp_path)
    document = json.loads(run.stdout)
    assert (document["verdict"], run.returncode) == ("doubtful", 1)
    assert "/proc is not mounted" in findings(document)["system"]["text"]
    assert all(result["passed"] for result in document["experiments"])


def in_mount_namespace(command: str, path: Path) -> subprocess.CompletedProcess[str]:
    words = ["unshare", "--mount", "sh", "-c", f'{command} && exec "$@"', "sh", *PROGRAM, "--json"]
    return subprocess.run([*words, str(path)], capture_output=True, text=True)


def test_where_proc_hides_processes_it_says_so(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    program = (
        "import os; from leaderlock.diagnosis.system import on_system\n"
        "os.setgroups([]); os.setgid(12345); os.setuid(12345); print(on_system()[0].text)"
    )
    script = 'mount -t proc -o hidepid=2 proc /proc && exec "$@"'
    words = ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", program]
    assert "hidepid" in subprocess.run(words, capture_output=True, text=True, check=True).stdout
    document = json.loads(in_mount_namespace("mount -t proc -o hidepid=2 proc /proc", tmp_path).stdout)
    assert document["verdict"] == "good"


def test_in_a_pid_namespace_it_says_who_shares_the_lock(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    with made("overlay", tmp_path) as place:
        words = ["unshare", "--pid", "--fork", "--mount-proc", *PROGRAM, "--json", str(place)]
        layer = json.loads(subprocess.run(words, capture_output=True, text=True).stdout)
    assert "own layer" in findings(layer)["shared with"]["text"]
    with mounted_at(tmp_path / "volume", "--bind", tmp_path) as place:
        words = ["unshare", "--pid", "--fork", "--mount-proc", *PROGRAM, "--json", str(place)]
        volume = json.loads(subprocess.run(words, capture_output=True, text=True).stdout)
    assert f"mounted into it ({tmp_path}" in findings(volume)["shared with"]["text"]


def test_patched_threads_are_seen_in_the_process_itself(tmp_path: Path) -> None:
    program = (
        "from {}; {}\nfrom leaderlock.diagnosis.system import on_patching\nprint(on_patching()[0].text)"
    )
    for lines in (
        ("gevent import monkey", "monkey.patch_all()"),
        ("eventlet import monkey_patch", "monkey_patch()"),
    ):
        words = [sys.executable, "-W", "ignore", "-c", program.format(*lines)]
        run = subprocess.run(words, capture_output=True, text=True, check=True)
        assert f"{lines[0].split()[0]} has patched this process" in run.stdout


def test_without_a_path_it_looks_where_named_locks_go(tmp_path: Path) -> None:
    place = tmp_path / "locks"
    document = told(env={**os.environ, "LEADERLOCK_DIR": str(place)})
    assert document["directory"] == str(place)
    assert document["verdict"] == "good"


def test_without_a_path_and_a_place_it_says_why(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    document = told(env={**os.environ, "LEADERLOCK_DIR": str(tmp_path)})
    assert document["verdict"] == "broken"
    assert "chmod 0700" in document["findings"][0]["text"]
    assert document["experiments"] == []


def test_the_screen_begins_with_the_verdict_and_names_the_worst_first(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    run = doctor(tmp_path / "leader.lock")
    lines = [line.rstrip() for line in run.stdout.splitlines()]
    assert run.returncode == 1
    assert lines[0].startswith(" DOUBTFUL   leaderlock may fail on")
    first = next(line for line in lines[lines.index("") :] if line)
    assert first.split()[:2] == ["doubtful", "directory"]
    assert "-> " in run.stdout
    assert "\x1b" not in run.stdout
    assert len(lines) < 45


@pytest.mark.parametrize("plain", [False, True])
def test_a_terminal_gets_colours_unless_it_wants_none(tmp_path: Path, plain: bool) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", **({"NO_COLOR": "1"} if plain else {})}
    with subprocess.Popen([*PROGRAM, tmp_path], stdout=theirs, env=environment) as process:
        os.close(theirs)
        said = b""
        try:
            while data := os.read(ours, 65536):
                said += data
        except OSError:  # EIO: the other end has been closed
            pass
        assert process.wait() == 0
    os.close(ours)
    assert (b"\x1b[32m" in said) is not plain


def test_names_with_line_ends_and_commands_for_the_terminal_are_shown_harmless(tmp_path: Path) -> None:
    place = tmp_path / "line\nend\x1b[2J [bold]"
    place.mkdir(mode=0o700)
    run = doctor(place)
    assert run.returncode == 0
    assert "\x1b" not in run.stdout
    assert "line\\nend\\x1b[2J [bold]" in run.stdout.replace("\n", "")
    assert told(place)["path"] == printable(str(place))


@pytest.mark.parametrize("words", [("a", "b"), ("--what",), ("",)])
def test_wrong_usage_is_told(words: tuple[str, ...]) -> None:
    run = doctor(*words)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("leaderlock doctor: ")


def test_without_rich_it_says_the_same_in_plain_lines(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['rich'] = None; from leaderlock.cli import main; sys.exit(main())"
    )
    words = [sys.executable, "-c", program, "doctor"]
    place = tmp_path / "open"
    place.mkdir()
    place.chmod(0o777)
    run = subprocess.run([*words, place], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (1, "")
    assert run.stdout.startswith(f"DOUBTFUL: leaderlock may fail on {place}\n")
    text = " ".join(run.stdout.split())
    assert "doubtful directory: " in text
    assert "-> choose a directory of your own" in text
    assert "SIGKILL to the holder: the next has it" in text
    missing = subprocess.run([*words, "/nowhere/x.lock"], capture_output=True, text=True)
    assert (missing.returncode, missing.stderr) == (2, "")
    assert "Nothing was tried" in missing.stdout
    assert subprocess.run([*words, "--json", place], capture_output=True).returncode == 1


@pytest.mark.parametrize("columns", [80, 60])
def test_its_plain_lines_fit(tmp_path: Path, columns: int) -> None:
    lines = as_text(diagnose(tmp_path), columns).splitlines()
    assert max(len(line) for line in lines if str(tmp_path) not in line) < columns


def test_the_same_is_to_be_had_as_a_function(tmp_path: Path) -> None:
    diagnosis = diagnose(tmp_path / "leader.lock")
    assert isinstance(diagnosis, Diagnosis)
    assert diagnosis.verdict == "good"
    assert diagnosis.directory == str(tmp_path)
