"""Keepers of leaders in servers that are PID 1, and in services of systemd."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest

from leaderlock.kernel.proc.keepers import children_of
from tests.native.kept import CAN_HAVE_KEEPERS, NAME, end_of, keepers_of
from tests.processes import flocks_of, needs_root, until
from tests.supervisor.systemd import Systemd, why_not

pytestmark = [
    pytest.mark.skipif(not CAN_HAVE_KEEPERS, reason="needs Linux on x86-64 or aarch64"),
    pytest.mark.skipif(os.geteuid() != 0, reason=needs_root),
    pytest.mark.slow,
]

CONTAINED = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]

APPLICATION = """
def task(leadership):
    leadership.stopping.wait()
def app(environ, start_response):
    start_response("200 OK", [])
    return [b""]
try:
    import uwsgi
except ImportError:
    pass
else:
    from leaderlock.integrations.uwsgi import in_one_worker
    in_one_worker(task, path="leader.lock", backoff=(0.05, 0.2))
"""

GUNICORN = """
from served import task
from leaderlock.integrations.gunicorn import in_one_worker
bind = "unix:http"
workers = 3
control_socket_disable = True
post_fork = in_one_worker(task, path="leader.lock", backoff=(0.05, 0.2))
"""

SERVERS = {
    "gunicorn": [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "served:app"],
    "uwsgi": [
        *(str(Path(sys.executable).with_name("pyuwsgi")), "--master", "--processes", "3"),
        *("--enable-threads", "--socket", "http", "--wsgi-file", "served.py", "--callable", "app"),
        *("--die-on-term", "--worker-reload-mercy", "10"),
    ],
}


@contextmanager
def serving(name: str, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server as PID 1 of a PID namespace, as in a container without an init."""
    (directory / "served.py").write_text(APPLICATION)
    (directory / "gunicorn.conf.py").write_text(GUNICORN)
    with (
        open(directory / "log", "wb") as log,
        subprocess.Popen([*CONTAINED, *SERVERS[name]], cwd=directory, stdout=log, stderr=log) as run,
    ):
        try:
            yield run
        except BaseException:
            print((directory / "log").read_text())
            raise
        finally:
            run.kill()


def queue(lock: Path) -> list[int]:
    """The leader and the two that stand by, once all three stand."""
    until(lambda: lock.exists() and len(flocks_of(lock)) == 3, "three workers to stand")
    return [pid for pid, _ in flocks_of(lock)]


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_as_pid_1_replaces_a_killed_leader_and_reaps_its_keeper(
    name: str, tmp_path: Path
) -> None:
    with serving(name, tmp_path) as run:
        leader, *standing = queue(tmp_path / "leader.lock")
        init = psutil.Process(leader).ppid()
        for _ in range(3):
            [keeper] = until(partial(keepers_of, leader))
            with end_of(keeper) as end:
                os.kill(leader, signal.SIGKILL)
                assert end.wait()
            next_one, *after = queue(tmp_path / "leader.lock")
            assert next_one in standing
            assert until(lambda: keepers_of(init) == []), "no zombie is left"
            leader, standing = next_one, after
        workers = [child for child in psutil.Process(init).children() if child.name() != NAME]
        assert {leader, *standing} <= {worker.pid for worker in workers}
        with end_of(until(lambda: keepers_of(leader))[0]) as end:
            os.kill(init, signal.SIGTERM)
            assert end.wait()
        run.wait(60)
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert NAME not in said


def arguments_of(pid: int) -> list[str]:
    """The command line of a process; empty if it has ended."""
    try:
        return psutil.Process(pid).cmdline()
    except psutil.NoSuchProcess:  # also a zombie
        return []


LEADS = """
import sys, leaderlock
def task(leadership):
    leadership.beat()
    print("leads", leadership.term, flush=True)
    leadership.stopping.wait()
leaderlock.Election(sys.argv[1]).run(task)
"""


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
@pytest.mark.parametrize("mode", ["control-group", "mixed", "process"])
@pytest.mark.parametrize("sandbox", ["", "SystemCallFilter=@system-service\n"], ids=["", "filtered"])
def test_a_service_of_systemd_ends_with_its_keeper(systemd: Systemd, mode: str, sandbox: str) -> None:
    name = f"{mode}{'-filtered' if sandbox else ''}"
    (systemd.shared / "leads.py").write_text(LEADS)
    words = ["/run/shared/leads.py", f"/run/{name}.lock"]
    text = (
        f"[Unit]\nDefaultDependencies=no\n[Service]\nKillMode={mode}\n{sandbox}"
        f"ExecStart={sys.executable} {' '.join(words)}\n"
    )
    systemd.add(f"{name}.service", text)
    for term in (1, 2):
        systemd.systemctl("start", f"{name}.service")
        systemd.until_journal(rf"^leads {term}$")
        [leader] = [pid for pid in children_of(systemd.pid) if arguments_of(pid)[1:] == words]
        [keeper] = until(partial(keepers_of, leader))
        with end_of(keeper) as end:
            systemd.systemctl("stop", f"{name}.service")
            assert systemd.show(f"{name}.service", "ActiveState") == "inactive"
            assert systemd.show(f"{name}.service", "Result") == "success"
            assert end.wait()
    if mode != "process":  # systemd kills the main process alone, and looks at once for others
        assert f"{name}.service: Unit process" not in systemd.journal()
