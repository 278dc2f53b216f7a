"""What is handed out to be copied: its own tools can read it, and its numbers fit together."""

from __future__ import annotations

import http.server
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from leaderlock.supervisor.schedule import Schedule
from leaderlock.supervisor.settings import Settings
from tests.integrations.readable import readable_by_all

CONTRIB = Path(__file__).parent.parent / "contrib"
UNIT = (CONTRIB / "leaderlock.service").read_text()


def longest_stop(words: list[str]) -> float:
    """Seconds that a `leaderlock run` with these words can take to stop, by docs/pid1.md."""
    schedule = Schedule(words[words.index("--stop") + 1])
    sidecars = 2 * Settings([]).sidecar_grace
    return 2 * sum(stage.seconds or 0 for stage in schedule.stages) + sidecars


def instructions(name: str) -> list[str]:
    """The arguments of each such instruction of the Dockerfile."""
    text = re.sub(r"\\\n\s*", "", (CONTRIB / "Dockerfile").read_text())
    return re.findall(rf"^{name} (.*)$", text, re.M)


def entrypoint() -> list[str]:
    [words] = instructions("ENTRYPOINT")
    found: list[str] = json.loads(words)  # exec form is JSON; in shell form a shell would be PID 1
    return found


def loaded(name: str) -> Any:
    return yaml.safe_load((CONTRIB / name).read_text())


def compose() -> dict[str, Any]:
    service: dict[str, Any] = loaded("compose.yaml")["services"]["app"]
    return service


def pod() -> dict[str, Any]:
    found: dict[str, Any] = loaded("kubernetes.yaml")["spec"]["template"]["spec"]
    return found


def container() -> dict[str, Any]:
    [found] = pod()["containers"]
    assert isinstance(found, dict)
    return found


def settings_of_unit() -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", UNIT, re.M))


def command_of_unit() -> list[str]:
    return shlex.split(settings_of_unit()["ExecStart"])


def test_the_image_runs_leaderlock_in_exec_form_and_not_as_root() -> None:
    assert entrypoint()[:2] == ["leaderlock", "run"]
    assert entrypoint()[-1] == "--"
    assert json.loads(instructions("CMD")[0])
    uid, _, gid = instructions("USER")[-1].partition(":")
    assert int(uid) > 0, "by number, which Kubernetes can check"
    assert int(gid) > 0


@pytest.mark.parametrize("where", [entrypoint, command_of_unit])
def test_the_options_are_understood(where: Callable[[], list[str]], tmp_path: Path) -> None:
    words = where()
    options = words[1 : words.index("--") + 1]
    run = subprocess.run(
        [sys.executable, "-m", "leaderlock", *options, "sh", "-c", "exit 3"],
        env={**os.environ, "LEADERLOCK_DIR": str(tmp_path / "locks")},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stderr) == (3, "")


def composer() -> list[str] | None:
    """docker compose, as a plugin or as the older program."""
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    plugin = ["docker", "compose"]
    if (
        shutil.which("docker")
        and not subprocess.run([*plugin, "version"], capture_output=True).returncode
    ):
        return plugin
    return None


def test_compose_understands_its_file(tmp_path: Path) -> None:
    program = composer()
    if program is None:
        pytest.skip("docker compose is not installed")
    for name in ("compose.yaml", "Dockerfile"):
        shutil.copy(CONTRIB / name, tmp_path)

    def problem() -> str:
        words = [*program, "--file", str(tmp_path / "compose.yaml"), "config", "--quiet"]
        run = subprocess.run(words, capture_output=True, text=True, timeout=60)
        return run.stderr if run.returncode else ""

    assert problem() == ""
    text = (CONTRIB / "compose.yaml").read_text()
    (tmp_path / "compose.yaml").write_text(text.replace("stop_grace_period", "stop_grace"))
    assert "stop_grace" in problem()


def test_compose_leaves_time_to_stop_and_nothing_to_write_to() -> None:
    service = compose()
    assert "init" not in service, "tini would be PID 1"
    assert "entrypoint" not in service
    assert float(service["stop_grace_period"].removesuffix("s")) >= longest_stop(entrypoint())
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["user"] == instructions("USER")[-1]
    [locks] = [mount for mount in service["tmpfs"] if mount.startswith("/run/app:")]
    assert "mode=0700" in locks
    assert f"uid={service['user'].partition(':')[0]}" in locks


@pytest.mark.parametrize(("answer", "status"), [(200, 0), (503, 1), (None, 1)])
def test_the_healthcheck_of_compose_tells_well_from_ill(answer: int | None, status: int) -> None:
    kind, _, *arguments = compose()["healthcheck"]["test"]
    assert kind == "CMD", "without a shell"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/healthz"
            self.send_response(answer or 0)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        port = server.server_address[1]
        if answer is not None:
            threading.Thread(target=server.handle_request).start()
        else:
            server.server_close()
        asked = [word.replace(":8000/", f":{port}/") for word in arguments]
        check = subprocess.run([sys.executable, *asked], capture_output=True)
    assert check.returncode == status


def test_kubernetes_leaves_time_to_stop() -> None:
    before = float(container()["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert pod()["terminationGracePeriodSeconds"] >= before + longest_stop(entrypoint())


def test_in_kubernetes_leaderlock_is_pid_1_without_rights() -> None:
    assert "command" not in container(), "it would replace the ENTRYPOINT"
    assert not pod().get("shareProcessNamespace")
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert str(pod()["securityContext"]["runAsUser"]) == instructions("USER")[-1].partition(":")[0]
    context = container()["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_the_deployment_holds_together() -> None:
    spec = loaded("kubernetes.yaml")["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod()["volumes"]}
    [directory] = [e["value"] for e in container()["env"] if e["name"] == "LEADERLOCK_DIR"]
    # A volume is open to everybody, so a directory in it would be refused; /dev/shm is sticky.
    assert Path(directory).parent == Path("/dev/shm")
    ports = {port["name"] for port in container()["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container()[probe]["httpGet"]["port"] in ports


def test_the_unit_leaves_time_to_stop_and_keeps_the_lock_file() -> None:
    settings = settings_of_unit()
    assert float(settings["TimeoutStopSec"]) >= longest_stop(command_of_unit())
    assert settings["KillMode"] == "mixed"
    assert settings["Type"] == "notify"
    assert float(settings["WatchdogSec"]) > 0
    assert settings["RuntimeDirectoryMode"] == "0700"
    assert settings["RuntimeDirectoryPreserve"] == "yes"


def verified(directory: Path, text: str) -> str:
    """What `systemd-analyze verify` has to say of a unit."""
    unit = directory / "myjob.service"
    unit.write_text(text.replace("/usr/bin/leaderlock", sys.executable))
    run = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return run.stdout + run.stderr


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not installed"
)


@needs_systemd
def test_systemd_understands_every_line_of_the_unit(tmp_path: Path) -> None:
    assert verified(tmp_path, UNIT) == ""
    assert "Unknown key" in verified(tmp_path, UNIT.replace("WatchdogSec=", "WatchdogSecs="))


@needs_systemd
def test_the_unit_is_hardened(tmp_path: Path) -> None:
    verified(tmp_path, UNIT)
    run = subprocess.run(
        [
            *("systemd-analyze", "security", "--no-pager", "--offline=yes", "--threshold=25"),
            str(tmp_path / "myjob.service"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout[-200:]


@pytest.mark.skipif(
    shutil.which("systemd-tmpfiles") is None or os.geteuid() != 0,
    reason="needs systemd-tmpfiles and root",
)
def test_tmpfiles_makes_the_directory_of_locks_and_never_cleans_it(tmp_path: Path) -> None:
    for name in ("passwd", "group"):
        (tmp_path / "etc").mkdir(exist_ok=True)
        rest = "4711::/:/bin/false" if name == "passwd" else ""
        (tmp_path / "etc" / name).write_text(
            f"root:x:0:{'0::/:' if rest else ''}\nmyjob:x:4711:{rest}\n"
        )
    text = (CONTRIB / "tmpfiles.d" / "leaderlock.conf").read_text()
    # Another line that cleans all of /run must not reach it.
    configuration = tmp_path / "all.conf"
    configuration.write_text(f"{text}\nd /run 0755 root root 1s\n")

    def tmpfiles(action: str) -> None:
        words = ["systemd-tmpfiles", action, f"--root={tmp_path}", str(configuration)]
        subprocess.run(words, check=True, timeout=60)

    tmpfiles("--create")
    directory = tmp_path / "run" / "locks-of-myjob"
    status = directory.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (4711, 4711, 0o700)
    lock, other = directory / "a.lock", tmp_path / "run" / "other"
    for path in (lock, other):
        path.write_text("")
        os.utime(path, (0, 0))
    time.sleep(1.2)  # no call changes a file's birth time
    tmpfiles("--clean")
    assert lock.exists()
    assert not other.exists(), "nothing was cleaned at all"


# What a container is made of: PID 1 of a PID namespace, a read-only root, one volume, and no rights.
CONTAINER = """\
mount -t tmpfs tmpfs /run
mkdir /run/app
chown "$1" /run/app
chmod "$2" /run/app
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -o remount,bind,ro /
shift 2
exec setpriv --reuid=10001 --regid=10001 --groups=10001 --no-new-privs --bounding-set=-all "$@"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces for another user")
@pytest.mark.parametrize(
    ("owner", "mode", "is_pod"),
    [("10001:10001", "0700", False), ("root:10001", "2777", True)],
    ids=["tmpfs", "emptyDir"],
)
def test_in_such_a_container_named_locks_work_on_a_read_only_root(
    tmp_path: Path, owner: str, mode: str, is_pod: bool
) -> None:
    environment = dict(re.findall(r"(\w+)=(\S+)", instructions("ENV")[0]))
    if is_pod:
        environment.update((entry["name"], entry["value"]) for entry in container()["env"])
    leaderlock = [sys.executable, "-m", "leaderlock"]
    show = """
        id -u
        echo $PPID "$LEADERLOCK_TERM $LEADERLOCK_PATH"
        awk '$5 == "/" { print substr($6, 1, 2) }' /proc/self/mountinfo
    """
    run = subprocess.run(
        [
            *readable_by_all(tmp_path),
            *("unshare", "--pid", "--mount", "--propagation", "private", "--fork", "--kill-child"),
            *("--mount-proc", "sh", "-euc", CONTAINER, "-", owner, mode),
            *leaderlock, *entrypoint()[1:],
            *leaderlock, "run", "--name", "job", "-F", "--", "sh", "-c", show,
        ],
        env={**environment, "PATH": os.environ["PATH"], "PYTHONPATH": str(CONTRIB.parent / "src")},
        capture_output=True,
        text=True,
        timeout=60,
    )  # fmt: skip
    if "ermitted" in run.stderr:
        pytest.skip(f"no namespaces here: {run.stderr.strip()}")
    place = environment["LEADERLOCK_DIR"]
    assert place == ("/dev/shm/locks" if is_pod else "/run/app/locks")
    assert run.stdout.splitlines() == ["10001", f"1 1 {place}/job.lock", "ro"]
    assert (run.returncode, run.stderr) == (0, "")


def test_hadolint_has_nothing_to_say_of_the_dockerfile(tmp_path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")

    def faults(text: str) -> str:
        (tmp_path / "Dockerfile").write_text(text)
        words = [str(hadolint), "--no-color", str(tmp_path / "Dockerfile")]
        return subprocess.run(words, capture_output=True, text=True, timeout=60).stdout

    text = (CONTRIB / "Dockerfile").read_text()
    assert faults(text) == ""
    assert "DL3000" in faults(text.replace("WORKDIR /app", "WORKDIR app"))


def test_the_deployment_is_of_kubernetes_own_schema() -> None:
    deployment = loaded("kubernetes.yaml")
    for version in ("1.30", "1.37"):
        kubernetes_validate.validate(deployment, version, strict=True)
    deployment["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.37", strict=True)


def test_the_readme_names_every_file() -> None:
    named = set(re.findall(r"^\| \[(\S+)\]\((\S+)\)", (CONTRIB / "README.md").read_text(), re.M))
    assert all(shown == target for shown, target in named)
    files = {str(path.relative_to(CONTRIB)) for path in CONTRIB.rglob("*") if path.is_file()}
    files = {name for name in files if "__pycache__" not in name}
    assert {shown for shown, _ in named} >= files - {"README.md"}
