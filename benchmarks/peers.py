"""Runs other projects' own tests, with the originals and with leaderlock; `make peers`.

    python -m benchmarks.peers PYTHON-OF-THE-SUITES [PART...]

The parts are filelock, portalocker, cpython and init; all by default. The sources come from PyPI, by
the hashes in peers-sources.txt. Each difference needs a reason in peers_differences.json, or the run
fails. The counts go into results/peers-suites.json, and from there into docs/comparison.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urljoin
from xml.etree import ElementTree

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / ".cache" / "peers-sources"
RESULTS = ROOT / "benchmarks" / "results" / "peers-suites.json"
PAGE = ROOT / "docs" / "comparison.md"
INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
INITS = ("tini", "dumb-init", "leaderlock init")

Outcomes = dict[str, str]


def fetched(name: str) -> Path:
    """The unpacked source distribution of a project; its file is checked by its hash."""
    pins = (ROOT / "benchmarks" / "peers-sources.txt").read_text(encoding="utf-8")
    pin = re.search(rf"^{name}==(\S+) --hash=sha256:(\w+)", pins, re.MULTILINE)
    assert pin, f"{name} is not pinned"
    version, digest = pin.groups()
    archive = SOURCES / f"{name}-{version}.tar.gz"
    unpacked = SOURCES / f"{name}-{version}"
    if not archive.exists() or hashlib.sha256(archive.read_bytes()).hexdigest() != digest:
        page = f"{INDEX}/{name}/"
        with urllib.request.urlopen(page) as answer:
            links = re.findall(r'href="([^"]+)"', answer.read().decode())
        (link,) = {
            x.partition("#")[0] for x in links if x.partition("#")[0].endswith(f"/{archive.name}")
        }
        with urllib.request.urlopen(urljoin(page, link)) as answer:
            content = answer.read()
        if hashlib.sha256(content).hexdigest() != digest:
            sys.exit(f"{link} is not the file that is pinned")
        SOURCES.mkdir(parents=True, exist_ok=True)
        archive.write_bytes(content)
    if not unpacked.exists():
        with tarfile.open(archive) as packed:
            packed.extractall(SOURCES, filter="data")
    return unpacked


def outcomes(python: str, place: Path, *words: str) -> Outcomes:
    """The outcome of each test that pytest runs there."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        # Without their limits of 20 s for a test, which a busy machine does not keep.
        options = ["-q", "-p", "no:cacheprovider", "-o", "timeout=300", f"--junitxml={report.name}"]
        subprocess.run(
            [python, "-m", "pytest", *options, *words], cwd=place, env=environment, check=False
        )
        return read(report.name)


def read(report: str) -> Outcomes:
    """The outcomes in a report of pytest's."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        failed = kinds & {"failure", "error"}
        kind = "failed" if failed else "skipped" if "skipped" in kinds else "passed"
        found[f"{case.get('classname')}::{case.get('name')}"] = kind
    return found


def compared(python: str, name: str, words: list[str]) -> dict[str, Any]:
    """The counts of a project's tests with its own classes, and with ours in their place."""
    place = fetched(name)
    original = twice(python, place, words)
    ours = twice(python, place, ["-p", f"benchmarks.suite_{name}", *words])
    return difference(place, name, original, ours)


def twice(python: str, place: Path, words: list[str]) -> Outcomes:
    """The outcomes; the files of what failed run once more, alone: a machine may have been too busy."""
    found = outcomes(python, place, *words)
    failed = {test.partition("::")[0] for test, kind in found.items() if kind == "failed"}
    files = [f"{name.replace('.', '/')}.py" for name in sorted(failed)]
    files = [file for file in files if (place / file).exists()]  # not so for methods of classes
    if files:
        options = words[: 2 * words.count("-p")]
        found.update(outcomes(python, place, *options, *files))
    return found


def difference(place: Path, name: str, original: Outcomes, ours: Outcomes) -> dict[str, Any]:
    """The counts, and the tests that differ, each with its reason."""
    assert original.keys() == ours.keys()
    reasons = json.loads((ROOT / "benchmarks" / "peers_differences.json").read_text())[name]
    differ = sorted(test for test, kind in ours.items() if kind != original[test])
    unexplained = [test for test in differ if test not in reasons]
    if unexplained:
        sys.exit(f"{name}: these differ, and nothing says why:\n" + "\n".join(unexplained))
    return {
        "version": place.name.rpartition("-")[2],
        "original": Counter(original.values()),
        "ours": Counter(ours.values()),
        "differ": {test: reasons[test] for test in differ},
    }


def filelock(python: str) -> dict[str, Any]:
    """The test files of filelock's that name one of the classes; others test soft and SQLite locks."""
    tests = fetched("filelock")
    files = [
        str(file.relative_to(tests))
        for file in sorted((tests / "tests").rglob("test_*.py"))
        if re.search(r"\b(Async)?(Unix)?FileLock\b", file.read_text(encoding="utf-8"))
    ]
    return compared(python, "filelock", ["-n", "2", *files])


def portalocker(python: str) -> dict[str, Any]:
    """Portalocker's whole suite, without its doctests and its measurement of coverage."""
    return compared(python, "portalocker", ["-o", "addopts=", "portalocker_tests"])


def cpython(_: str) -> dict[str, Any]:
    """CPython's tests of locks and of conditions, with each Python that is installed."""
    finder = subprocess.run(
        [str(ROOT / "scripts" / "other-pythons"), *PYTHONS], capture_output=True, text=True, check=True
    )
    found = {}
    for python in [sys.executable, *finder.stdout.split()]:
        version = subprocess.run(
            [python, "-c", "import platform; print(platform.python_version())"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        words = [python, "-m", "benchmarks.lock_tests"]
        run = subprocess.run(
            words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        found[version] = json.loads(run.stdout)
    return found


def init(_: str) -> dict[str, Any]:
    """Our cases of what an init does; tini and dumb-init run them too where they have the feature."""
    found = outcomes(sys.executable, ROOT, "tests/supervisor/test_init.py")
    counts: dict[str, Any] = {}
    for name in INITS:
        mine = [kind for test, kind in found.items() if re.search(rf"[\[-]{name}[\]-]", test)]
        counts[name] = Counter(mine)
    return counts


PARTS = {"filelock": filelock, "portalocker": portalocker, "cpython": cpython, "init": init}


def table(results: dict[str, Any]) -> str:
    """The section of the page."""
    rows = [
        "| tests | passed by the original | passed by leaderlock | skipped by both |",
        "| --- | --- | --- | --- |",
    ]
    differ = []
    for name in ("filelock", "portalocker"):
        if found := results.get(name):
            a, b = found["original"], found["ours"]
            title = f"{name} {found['version']}'s own, with `leaderlock.interop`"
            rows.append(f"| {title} | {a['passed']} | {b['passed']} | {b.get('skipped', 0)} |")
            differ += [f"- `{test}`: {why}." for test, why in found["differ"].items()]
    for version, found in sorted(results.get("cpython", {}).items(), key=lambda x: x[0].split(".")[1]):
        original = sum(found["threading.Lock"].values())
        ours = " and ".join(
            str(sum(found[x].values())) for x in ("LeaderLock(path)", "LeaderLock.anonymous()")
        )
        rows.append(f"| CPython {version}'s of locks and conditions | {original} | {ours} | 0 |")
    if found := results.get("init"):
        ours = found[INITS[2]]["passed"]
        rows += [
            f"| our cases of an init, with {name} where it has the feature | {found[name]['passed']} | "
            f"{ours} | {found[name].get('skipped', 0)} |"
            for name in INITS[:2]
        ]
    return "\n".join([*rows, "", "What differs:", "", *differ])


def main(python: str, parts: list[str]) -> None:
    """Run the parts named, or all, and write the results and the page."""
    for part in parts or list(PARTS):
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        results[part] = PARTS[part](python)
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        text = PAGE.read_text(encoding="utf-8")
        begin, _, rest = text.partition("<!-- suites -->\n")
        _, mark, after = rest.partition("<!-- end -->")
        PAGE.write_text(f"{begin}<!-- suites -->\n{table(results)}\n{mark}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]), sys.argv[2:])
