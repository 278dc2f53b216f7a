"""The fleets of contrib/: their tools can read them, and their containers elect one worker."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml

from leaderlock.engines import Address
from tests.fleet.servers import PostgreSQL, family
from tests.integrations.readable import readable_by_all
from tests.processes import PATIENCE, until
from tests.test_contrib import CONTAINER, CONTRIB, composer, instructions, longest_stop

COMPOSE = CONTRIB / "fleet" / "compose.yaml"
KUBERNETES = CONTRIB / "fleet" / "kubernetes.yaml"
PASSWORD = "a password"


def worker_of_compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]["worker"]
    return found


def deployment() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(KUBERNETES.read_text())
    return found


def container() -> dict[str, Any]:
    [found] = deployment()["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def secret() -> dict[str, str]:
    """What the comment puts into the Secret."""
    lines = [line[1:] for line in KUBERNETES.read_text().splitlines() if line.startswith("#")]
    words = shlex.split("\n".join(lines).partition("kubectl create secret generic ")[2])
    made = {"name": words[0]}
    for word in words[1:]:
        if match := re.match(r"--from-(?:literal|file)=(\w+)=(.*)", word):
            made[match[1]] = match[2]
    return made


def environment_of_pod() -> dict[str, str]:
    kept = secret()
    environment = {}
    for entry in container()["env"]:
        if "value" in entry:
            environment[entry["name"]] = entry["value"]
        else:
            reference = entry["valueFrom"]["secretKeyRef"]
            assert reference["name"] == kept["name"]
            environment[entry["name"]] = kept[reference["key"]]
    return environment


def environment_of_compose() -> dict[str, str]:
    found: dict[str, str] = worker_of_compose()["environment"]
    return found


def command(name: str) -> list[str]:
    """What a container runs, before the worker's own command."""
    words: list[str] = (
        worker_of_compose()["entrypoint"] if name == "compose" else container()["command"]
    )
    return words


def environment(name: str) -> dict[str, str]:
    return environment_of_compose() if name == "compose" else environment_of_pod()


def test_compose_understands_the_fleet(tmp_path: Path) -> None:
    program = composer()
    if program is None:
        pytest.skip("docker compose is not installed")
    shutil.copy(CONTRIB / "Dockerfile", tmp_path)
    place = tmp_path / "fleet"
    place.mkdir()

    def problem(text: str, password: str) -> str:
        (place / "compose.yaml").write_text(text)
        words = [*program, "--file", str(place / "compose.yaml"), "config", "--quiet"]
        variables = {**os.environ, "POSTGRES_PASSWORD": password}
        run = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=2 * PATIENCE)
        return run.stderr if run.returncode else ""

    text = COMPOSE.read_text()
    assert problem(text, PASSWORD) == ""
    assert "put the password into the file .env" in problem(text, "")
    assert "replica" in problem(text.replace("replicas:", "replica:"), PASSWORD)


def test_the_deployment_of_the_fleet_is_of_kubernetes_own_schema() -> None:
    found = deployment()
    for version in ("1.30", "1.37"):
        kubernetes_validate.validate(found, version, strict=True)
    found["spec"]["replica"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(found, "1.37", strict=True)


def test_the_deployment_of_the_fleet_holds_together() -> None:
    spec = deployment()["spec"]
    pod = spec["template"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels
    [spread] = pod["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels
    mounts = {mount["name"] for mount in container()["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}
    assert spec["replicas"] > 1


def test_both_leave_time_to_stop_and_no_rights() -> None:
    user = instructions("USER")[-1]
    worker, pod = worker_of_compose(), deployment()["spec"]["template"]["spec"]
    seconds = longest_stop(command("compose"))
    assert float(worker["stop_grace_period"].removesuffix("s")) >= seconds
    assert pod["terminationGracePeriodSeconds"] >= longest_stop(command("kubernetes")) == seconds
    assert (worker["user"], worker["read_only"], worker["cap_drop"]) == (user, True, ["ALL"])
    assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == user
    assert container()["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("name", ["compose", "kubernetes"])
def test_no_password_is_in_a_url_or_an_argument(name: str) -> None:
    variables = environment(name)
    address = Address(variables["LEADERLOCK_RUN_LOCK"])
    assert address.shown == variables["LEADERLOCK_RUN_LOCK"], "nothing had to be hidden"
    assert "PGPASSWORD" in variables
    assert not [word for word in command(name) if "PASSWORD" in word or "://" in word]


@pytest.fixture
def database(local_postgresql: PostgreSQL) -> Iterator[PostgreSQL]:
    """With the user and the database of the manifests."""
    local_postgresql.sql(f"CREATE ROLE myapp LOGIN PASSWORD '{PASSWORD}'")
    local_postgresql.sql("CREATE DATABASE myapp OWNER myapp")
    yield local_postgresql
    local_postgresql.sql("DROP DATABASE myapp WITH (FORCE)")
    local_postgresql.sql("DROP ROLE myapp")


class Replica:
    """A container of a manifest: PID 1, a read-only root, no rights; its worker says its term."""

    def __init__(self, directory: Path, name: str, server: PostgreSQL) -> None:
        self.output = directory / "output"
        variables = {
            **dict(re.findall(r"(\w+)=(\S+)", instructions("ENV")[0])),
            **environment(name),
            "PGPASSWORD": PASSWORD,
            "LEADERLOCK_RUN_LEASE": "3",
        }
        url = urlsplit(variables["LEADERLOCK_RUN_LOCK"])
        place = f"{url.username}@{server.address()}:{server.port}"
        variables["LEADERLOCK_RUN_LOCK"] = url._replace(netloc=place, query="").geturl()
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *readable_by_all(directory),
                    *("unshare", "--pid", "--mount", "--propagation", "private", "--fork"),
                    *("--kill-child", "--mount-proc"),
                    *("sh", "-euc", CONTAINER, "-", "10001:10001", "0700"),
                    *self.python(command(name)),
                    *("sh", "-c", 'echo "leads $LEADERLOCK_TERM"; exec sleep infinity'),
                ],
                env={
                    **variables,
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(CONTRIB.parent / "src"),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @staticmethod
    def python(words: list[str]) -> list[str]:
        """The command with this interpreter in place of the installed program."""
        found: list[str] = []
        for word in words:
            found += [sys.executable, "-m", "leaderlock"] if word == "leaderlock" else [word]
        return found

    @property
    def terms(self) -> list[int]:
        return [int(term) for term in re.findall(r"^leads (\d+)$", self.output.read_text(), re.M)]

    def first_process(self) -> int:
        """PID 1 of the container, by its PID here."""
        for pid in family(self.process.pid):
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            if re.search(r"^NSpid:.*\t1$", status, re.M):
                return pid
        raise ProcessLookupError(f"the container has ended: {self.output.read_text()}")

    def kill(self) -> None:
        """End the container; not by `unshare`, whose --kill-child is void after a change of user."""
        with suppress(ProcessLookupError):
            os.kill(self.first_process(), signal.SIGKILL)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        self.process.wait(PATIENCE)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces for another user")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["compose", "kubernetes"])
def test_one_of_the_containers_works_and_the_next_one_follows_it(
    name: str, database: PostgreSQL, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        replicas = []
        for number in range(3):
            directory = tmp_path / str(number)
            directory.mkdir()
            replicas.append(Replica(directory, name, database))
            stack.callback(replicas[-1].close)

        def working(*terms: int) -> Replica:
            """The replica that leads, after others have led in these terms."""

            def found() -> list[Replica]:
                for replica in replicas:
                    if not replica.terms and replica.process.poll() is not None:
                        raise AssertionError(f"a standby has ended: {replica.output.read_text()}")
                return [r for r in replicas if r.terms and r.terms[-1] not in terms]

            return until(found, "a worker to lead")[0]

        first = working()
        os.kill(first.first_process(), signal.SIGTERM)
        second = working(*first.terms)
        first.process.wait(PATIENCE)
        second.kill()
        third = working(*first.terms, *second.terms)
        assert len({first, second, third}) == 3
        assert first.terms < second.terms < third.terms
