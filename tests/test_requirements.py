"""requirements-dev.txt: every version and hash that `make` installs, and `make lock` writes."""

from __future__ import annotations

import re
from importlib.metadata import metadata
from pathlib import Path
from typing import NamedTuple

import pytest
import tomli
from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PINNED = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
PYTHONS = ["3.10.13", "3.11.7", "3.12.1", "3.13.0", "3.14.0"]
MACHINES = ["x86_64", "aarch64"]
REMEDY = "run `make lock` and commit requirements-dev.txt"


class Pin(NamedTuple):
    """One pinned distribution: its version, where it is for, and its files' hashes."""

    name: str
    version: str
    marker: Marker | None
    hashes: list[str]

    def is_for(self, environment: dict[str, str]) -> bool:
        return self.marker is None or self.marker.evaluate(environment)


def pins() -> list[Pin]:
    lines = [line for line in PINNED.splitlines() if not line.lstrip().startswith("#")]
    found = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        text, *hashes = line.split("--hash=")
        requirement = Requirement(text)
        [specifier] = requirement.specifier
        assert specifier.operator == "==", line
        name = canonicalize_name(requirement.name)
        found.append(
            Pin(name, specifier.version, requirement.marker, [each.strip() for each in hashes])
        )
    return found


PINS = pins()


def environment_of(python: str, machine: str) -> dict[str, str]:
    found = {key: str(value) for key, value in default_environment().items()}
    short = python.rpartition(".")[0]
    return found | {
        "python_version": short,
        "python_full_version": python,
        "implementation_version": python,
        "platform_machine": machine,
        "sys_platform": "linux",
    }


def asked_for() -> list[Requirement]:
    """What pyproject.toml asks for in the build, in the package, and in every extra."""
    project = tomli.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lines = list(project["build-system"]["requires"])
    lines += project["project"]["dependencies"]
    for extra in project["project"]["optional-dependencies"].values():
        lines += extra
    ours = ("leaderlock", "leaderlock-native")  # both are built from this tree
    return [each for each in map(Requirement, lines) if each.name not in ours]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", PYTHONS)
def test_what_pyproject_asks_for_is_pinned_for_each_python_and_processor(
    python: str, machine: str
) -> None:
    environment = environment_of(python, machine)
    here = {pin.name: Version(pin.version) for pin in PINS if pin.is_for(environment)}
    for requirement in asked_for():
        if requirement.marker is not None and not requirement.marker.evaluate(environment):
            continue
        version = here.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not pinned: {REMEDY}"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement}: {REMEDY}"


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", PYTHONS)
def test_no_package_is_pinned_twice_for_one_place(python: str, machine: str) -> None:
    environment = environment_of(python, machine)
    names = [pin.name for pin in PINS if pin.is_for(environment)]
    assert len(set(names)) == len(names)


def test_each_pin_has_hashes() -> None:
    assert PINS
    for pin in PINS:
        assert pin.hashes, pin.name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in pin.hashes), pin.name


def test_the_file_names_no_index_and_no_address() -> None:
    assert "://" not in PINNED
    assert not re.search(r"^\s*--(?!hash=)", PINNED, re.MULTILINE)


def test_the_extra_all_brings_only_what_the_code_imports() -> None:
    ours = Path(__file__).parent.parent / "src" / "leaderlock"
    code = "\n".join(path.read_text(encoding="utf-8") for path in ours.rglob("*.py"))
    lines = metadata("leaderlock").get_all("Requires-Dist", [])
    brought = {
        Requirement(line).name
        for line in lines
        if (marker := Requirement(line).marker) and marker.evaluate({"extra": "all"})
    }
    assert {"psutil", "rich"} <= brought
    for name in brought:
        module = {"opentelemetry-sdk": "opentelemetry", "resvg-py": "resvg_py"}.get(
            name, name.replace("-", "_")
        )
        assert re.search(rf"^\s*(from|import) {module}\b", code, re.MULTILINE), name
