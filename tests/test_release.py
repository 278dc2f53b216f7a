"""What is uploaded: built from the tree, and used from an environment that has nothing else."""

from __future__ import annotations

import email
import email.message
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from trove_classifiers import classifiers

from leaderlock._version import __version__

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow

USER_PROGRAM = """\
from leaderlock import Election, LeaderLock, Leadership, call_once, current_leadership, only_once
from leaderlock.health import HealthReporter, checks, sinks
from leaderlock.inbox import Inbox
from leaderlock.integrations.gunicorn import in_one_worker


def task(leadership: Leadership) -> int:
    for _ in leadership.every(10):
        print(leadership.term)
    return leadership.term


@only_once(name="scheduler")
def start_scheduler() -> None:
    leadership = current_leadership()
    assert leadership is not None


@call_once(key="2026-01")
def migrate() -> int:
    return 7


lock = LeaderLock("/run/app/leader.lock")
with lock:
    term: int = lock.term
candidate = Election("/run/app/leader.lock", lease=5).start(task)
leads: bool = candidate.wait(timeout=1.5)
rows: int = migrate()
reporter = HealthReporter(interval=10, checks=[checks.disk("/")], sinks=[sinks.file("/x.json")])
post_fork = in_one_worker(reporter)
sent: bool = Inbox("/run/app/inbox").send({"requests": 1})
"""


def built(source: Path, output: Path, **options: int) -> list[Path]:
    """The sdist and the wheel of a source tree."""
    words = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(output), str(source)]
    run = subprocess.run(words, capture_output=True, text=True, timeout=600, **options)  # type: ignore[call-overload]
    assert run.returncode == 0, run.stderr
    return sorted(output.iterdir())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Both files, the wheel first."""
    return built(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(files: list[Path]) -> Path:
    return files[0]


@pytest.fixture(scope="module")
def sdist(files: list[Path]) -> Path:
    return files[1]


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


class Environment:
    """A virtual environment with nothing in it but what is installed here."""

    def __init__(self, directory: Path) -> None:
        venv.create(directory, with_pip=True)
        self.directory = directory
        self.python = directory / "bin" / "python"

    def install(self, *words: str) -> None:
        pip = [str(self.python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *words], check=True, timeout=600)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, with no sight of this checkout."""
        outside = ("PYTHONPATH", "VIRTUAL_ENV")
        environment = {key: value for key, value in os.environ.items() if key not in outside}
        environment["LEADERLOCK_DIR"] = str(self.directory / "locks")
        program = str(self.directory / "bin" / words[0])
        return subprocess.run(
            [program, *words[1:]],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel alone: nothing could be fetched."""
    environment = Environment(tmp_path_factory.mktemp("venv") / "core")
    environment.install("--no-index", str(wheel))
    return environment


def test_twine_finds_no_fault(files: list[Path]) -> None:
    words = [sys.executable, "-m", "twine", "check", "--strict", *map(str, files)]
    run = subprocess.run(words, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_two_builds_give_the_same_bytes_wherever_and_whenever_they_are_made(
    files: list[Path], sdist: Path, tmp_path: Path
) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "a", filter="data")
    [source] = (tmp_path / "a").iterdir()
    (source / "PKG-INFO").unlink()  # made by the build; it would be in there twice
    for path in source.rglob("*"):
        os.utime(path, (10**9, 10**9))
    again = built(source, tmp_path / "dist", umask=0o077)
    assert [file.name for file in again] == [file.name for file in files]
    assert again[0].read_bytes() == files[0].read_bytes(), "the wheel"
    assert again[1].read_bytes() == files[1].read_bytes(), "the sdist"


def test_the_metadata_say_what_a_user_looks_for(metadata: email.message.Message) -> None:
    assert metadata["Name"] == "leaderlock"
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Requires-Python"] == ">=3.10"
    ours = set(metadata.get_all("Classifier", []))
    assert ours <= set(classifiers)
    assert "Typing :: Typed" in ours
    assert not any(classifier.startswith("License ::") for classifier in ours), "SPDX is in its place"
    assert all("extra ==" in needed for needed in metadata.get_all("Requires-Dist", []))


def test_the_wheel_holds_the_package_and_the_manual_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tree = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.*")}
    tree = {name for name in tree if "__pycache__" not in name}
    assert {name for name in names if name.startswith("leaderlock/")} == tree
    assert "leaderlock/py.typed" in names
    rest = {name.partition("/")[0] for name in names} - {"leaderlock"}
    assert {name.rpartition(".")[2] for name in rest} == {"dist-info", "data"}
    pages = {name.rpartition("/")[2] for name in names if "/share/man/man1/" in name}
    assert pages == {page.name for page in (ROOT / "docs" / "man").iterdir()}


def test_the_sdist_has_what_is_needed_to_test_and_to_document_it(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "Makefile", "pyproject.toml"} <= names
    assert {"tests/test_release.py", "docs/cli.md", "contrib/Dockerfile"} <= names
    assert not any(name.startswith((".venv", ".cache", "dist")) for name in names)


def test_the_wheel_alone_makes_one_process_lead(installed: Environment) -> None:
    program = (
        "import leaderlock; lock = leaderlock.LeaderLock(name='smoke')\n"
        "with lock: print(lock.term)\n"
        "print(leaderlock.Election(lock).run(lambda leadership: leadership.term))"
    )
    result = installed.run("python", "-c", program)
    assert (result.stdout, result.stderr) == ("1\n2\n", "")
    imported = installed.run("python", "-c", "import leaderlock; print(leaderlock.__file__)").stdout
    assert imported.startswith(str(installed.directory))


def test_the_commands_work_without_any_extra(installed: Environment) -> None:
    def said(*words: str) -> str:
        result = installed.run("leaderlock", *words)
        assert (result.returncode, result.stderr) == (0, ""), words
        return result.stdout

    assert said("--version") == f"leaderlock {__version__}\n"
    term = ["run", "--name", "job", "--", "sh", "-c", "echo $LEADERLOCK_TERM"]
    assert said(*term) == "1\n"
    path = str(installed.directory / "locks" / "job.lock")
    assert path in said("status")
    assert "released" in said("history", path)
    assert said("history", "--plot", str(installed.directory / "x.svg"), path) == ""
    assert '"verdict"' in said("doctor", "--json", str(installed.directory))
    assert "complete -F" in said("completion", "bash")
    assert "Examples:" in said("serve", "--help")
    assert (installed.directory / "share" / "man" / "man1" / "leaderlock-run.1").exists()


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["leaderlock", "history", "--plot", "x.png", "locks/extra.lock"], "plot"),
        (
            ["python", "-c", "from leaderlock.health import sinks; sinks.prometheus('/x.prom')"],
            "prometheus",
        ),
    ],
)
def test_what_needs_an_extra_names_it(installed: Environment, words: Sequence[str], extra: str) -> None:
    installed.run("leaderlock", "run", "--name", "extra", "--", "true")
    result = installed.run(*words)
    assert result.returncode == (125 if words[0] == "leaderlock" else 1)
    assert f"pip install 'leaderlock[{extra}]'" in result.stderr


def test_with_the_extra_cli_the_doctor_draws(wheel: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    environment.install(f"{wheel}[cli]")  # rich comes from the index
    result = environment.run("leaderlock", "doctor", str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")
    assert "leaderlock will work" in result.stdout


def test_pip_makes_the_same_wheel_of_the_sdist(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    command = ["-m", "pip", "wheel", "-qq", "--no-index", "--no-build-isolation", "--no-deps"]
    subprocess.run([sys.executable, *command, "-w", str(tmp_path), str(sdist)], check=True, timeout=600)
    [made] = tmp_path.iterdir()
    assert made.name == wheel.name
    assert made.read_bytes() == wheel.read_bytes()


@pytest.mark.parametrize(
    ("program", "fault"),
    [
        (USER_PROGRAM, ""),
        (USER_PROGRAM.replace("term: int", "term: str"), "Incompatible types in assignment"),
    ],
    ids=["right", "wrong"],
)
def test_a_user_s_program_is_checked_against_the_types(
    installed: Environment, tmp_path: Path, program: str, fault: str
) -> None:
    (tmp_path / "program.py").write_text(program)
    words = ["--strict", "--config-file=", f"--python-executable={installed.python}", "program.py"]
    environment = {key: value for key, value in os.environ.items() if key != "MYPYPATH"}
    mypy = subprocess.run(
        [sys.executable, "-m", "mypy", *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if fault:
        assert fault in mypy.stdout
    else:
        assert mypy.stdout.startswith("Success"), mypy.stdout


@pytest.mark.skipif(shutil.which("man") is None, reason="needs man")
def test_man_finds_the_pages_of_the_environment(installed: Environment) -> None:
    share = str(installed.directory / "share" / "man")
    found = subprocess.run(["man", "-M", share, "-w", "leaderlock-run"], capture_output=True, text=True)
    assert found.stdout.strip() == f"{share}/man1/leaderlock-run.1"
