"""Mutation testing with cosmic-ray: changes the library in one place at a time, and runs its tests.

    python scripts/mutation.py PYTHON-OF-THE-TESTS [PART...]

A part is a file or a folder of src/leaderlock (deadman.py, lock); TESTS names the tests of each.
Everything happens in a copy of the tree, in .cache; a run that is broken off goes on where it stopped.
The survivors are printed as diffs, and the scores are written into docs/proof.md.

Left out, as no test could tell: what stands in annotations and in `if TYPE_CHECKING`. Of the
alternatives to one operator at one place, one or two are tried.
"""

from __future__ import annotations

import ast
import compileall
import contextlib
import json
import os
import py_compile
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem, WorkResult

ROOT = Path(__file__).parent.parent
PLACE = ROOT / ".cache" / "mutants"
TREE = PLACE / "tree"
RESULTS = ROOT / "benchmarks" / "results" / "mutation.json"
REASONS = ROOT / "scripts" / "survivors.json"
PAGE = ROOT / "docs" / "proof.md"

TESTS = {
    "engines/address.py": ["tests/test_engine_addresses.py"],
    "lock/record.py": ["tests/test_term.py", "tests/test_odd_records.py"],
    "lock/journal.py": ["tests/test_history.py", "tests/test_term.py"],
    "inbox/frames.py": [
        "tests/test_inbox.py",
        "-k",
        "frame or garbage or window or json or nesting or largest or arrive",
    ],
    "supervisor/schedule.py": [
        "tests/supervisor/test_schedule.py",
        "tests/supervisor/test_stopping.py",
        "-k",
        "test_schedule or read or any_text",
    ],
    "deadman.py": ["tests/test_deadman.py"],
}
"""The tests of each file; a folder's tests run for its other files."""

FAMILIES = {
    "Eq": ["NotEq"],
    "NotEq": ["Eq"],
    "Lt": ["LtE", "Gt"],
    "LtE": ["Lt", "Gt"],
    "Gt": ["GtE", "Lt"],
    "GtE": ["Gt", "Lt"],
    "Add": ["Sub"],
    "Sub": ["Add"],
    "Mul": ["Add"],
    "Div": ["Mul"],
    "FloorDiv": ["Mul"],
    "Mod": ["Mul"],
    "BitOr": ["BitAnd"],
    "BitAnd": ["BitOr"],
    "LShift": ["RShift"],
    "RShift": ["LShift"],
}
"""The alternatives to an operator that are tried; all others are variants of these."""


def is_tried(operator: str) -> bool:
    """Whether this alternative is one of those that are tried."""
    found = re.fullmatch(r"core/Replace(?:Binary|Comparison)Operator_(\w+?)_(\w+)", operator)
    return found is None or found[1] not in FAMILIES or found[2] in FAMILIES[found[1]]


def untestable(source: str) -> Iterator[tuple[int, int, int, int]]:
    """From where to where nothing is executed that a test could notice."""
    for node in ast.walk(ast.parse(source)):
        nodes: list[ast.AST | None] = []
        if isinstance(node, ast.arg | ast.AnnAssign):
            nodes.append(node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            nodes.append(node.returns)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes += [node.test, *node.body]
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TYPE_CHECKING":
            nodes.append(node)
        for each in nodes:
            if each is not None:
                yield each.lineno, each.col_offset, each.end_lineno or 0, each.end_col_offset or 0  # type: ignore[attr-defined]


def is_wanted(item: WorkItem, regions: list[tuple[int, int, int, int]]) -> bool:
    """Whether to run the tests on this mutant."""
    (mutation,) = item.mutations
    at = mutation.start_pos
    inside = any((a, b) <= at < (c, d) for a, b, c, d in regions)
    return is_tried(mutation.operator_name) and not inside


def copy_tree() -> None:
    """A copy of what the tests need, whose byte code follows each change of a source by its hash."""
    shutil.rmtree(TREE, ignore_errors=True)
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in files.stdout.splitlines():
        target = TREE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(ROOT / name, target)


@contextlib.contextmanager
def test_server(python: str) -> Iterator[str]:
    """A process that has imported pytest already and forks for each run; the command that asks it."""
    address = str(PLACE / "socket")
    environment = {**os.environ, "PYTHONPATH": f"{TREE / 'src'}:{TREE}"}
    here = Path(__file__).parent
    server = subprocess.Popen(
        [python, str(here / "test_server.py"), address],
        cwd=TREE,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    server.stdout.readline()
    try:
        yield f"{python} -ISE {here / 'ask_test_server.py'} {address}"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def run_part(part: str, python: str) -> dict[str, object]:
    """Try all mutants of a file that were not tried yet; the score."""
    source = ROOT / "src" / "leaderlock" / part
    target = TREE / "src" / "leaderlock" / part
    shutil.copy2(source, target)
    words = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *TESTS[part]]
    session, config = PLACE / f"{part.replace('/', '-')}.sqlite", PLACE / "config.toml"
    with test_server(python) as ask:
        begun = time.monotonic()
        subprocess.run([*ask.split(), *words], check=True)
        baseline = time.monotonic() - begun
        command = " ".join([ask, *(f"'{word}'" for word in words)])
        config.write_text(
            f'[cosmic-ray]\nmodule-path = ["{target}"]\ntimeout = {max(60, 10 * baseline):.0f}\n'
            f'excluded-modules = []\ntest-command = "{command}"\n'
            '[cosmic-ray.distributor]\nname = "local"\n'
        )
        program = [str(Path(sys.executable).with_name("cosmic-ray"))]
        if not is_of(session, source):
            session.unlink(missing_ok=True)
            subprocess.run([*program, "init", str(config), str(session)], check=True)
            regions = list(untestable(source.read_text(encoding="utf-8")))
            with use_db(session, WorkDB.Mode.open) as db:
                for item in list(db.work_items):
                    if not is_wanted(item, regions):
                        db.set_result(item.job_id, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))
            session.with_suffix(".py").write_bytes(source.read_bytes())
        limit = os.environ.get("SECONDS_EACH")
        with contextlib.suppress(subprocess.TimeoutExpired):  # the page says how many are left
            subprocess.run(
                [*program, "exec", str(config), str(session)],
                check=True,
                timeout=float(limit) if limit else None,
            )
        shutil.copy2(source, target)  # a run that was broken off leaves its last change there
        # If the tests fail without a change, too, nothing was killed by a change.
        if subprocess.run([*ask.split(), *words], check=False).returncode:
            session.unlink()
            sys.exit(f"{part}: the tests fail after the run, so its results are thrown away")
    return score(session, part)


def is_of(session: Path, source: Path) -> bool:
    """Whether an earlier session tried the mutants of the same source."""
    copied = session.with_suffix(".py")
    return session.exists() and copied.exists() and copied.read_bytes() == source.read_bytes()


def score(session: Path, part: str) -> dict[str, object]:
    """How many mutants were killed; the diffs of the others are printed."""
    counts = {"killed": 0, "survived": 0, "left": 0}
    survivors = []
    reasons = json.loads(REASONS.read_text()) if REASONS.exists() else {}
    with use_db(session, WorkDB.Mode.open) as db:
        counts["left"] = len(list(db.pending_work_items))
        for _, result in db.completed_work_items:
            if result.worker_outcome == WorkerOutcome.SKIPPED:
                continue
            if result.test_outcome != TestOutcome.SURVIVED:
                counts["killed"] += 1
                continue
            counts["survived"] += 1
            changed = [x for x in (result.diff or "").splitlines() if re.match(r"[-+](?![-+])", x)]
            lines = " => ".join(line[1:].strip() for line in changed)
            survivors.append({"line": lines, "reason": reasons.get(part, {}).get(lines, "")})
            print(f"SURVIVED in {part}:\n{result.diff}\n")
    return {**counts, "survivors": survivors, "date": time.strftime("%Y-%m-%d")}


def write_page(results: dict[str, dict[str, object]]) -> None:
    """Put the scores between the marks of the page."""
    rows = [
        "| file | mutants tried | killed | survived with a reason | survived without | not tried yet |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for part, found in sorted(results.items()):
        killed, survived = int(str(found["killed"])), int(str(found["survived"]))
        survivors = found["survivors"]
        assert isinstance(survivors, list)
        known = sum(bool(each["reason"]) for each in survivors)
        total = killed + survived
        share = f"{killed} ({100 * killed / max(total, 1):.0f} %)"
        rows.append(
            f"| {part} | {total} | {share} | {known} | {survived - known} | {found.get('left', 0)} |"
        )
    table = "\n".join(rows)
    text = PAGE.read_text(encoding="utf-8")
    text = re.sub(
        r"(<!-- mutation -->\n).*?(<!-- end -->)",
        lambda m: m[1] + table + "\n" + m[2],
        text,
        flags=re.DOTALL,
    )
    PAGE.write_text(text, encoding="utf-8")


def main(python: str, parts: list[str]) -> None:
    """Try the mutants of the parts named, or of all, and write the page."""
    wanted = [each for each in TESTS if not parts or any(each.startswith(part) for part in parts)]
    if not wanted:
        sys.exit(f"no tests are known for {' '.join(parts)}: choose from {' '.join(TESTS)}")
    PLACE.mkdir(parents=True, exist_ok=True)
    copy_tree()
    compileall.compile_dir(
        str(TREE / "src"), quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH
    )
    for part in wanted:
        found = run_part(part, python)
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        results[part] = found
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        write_page(results)
        print(f"{part}: {found['killed']} killed, {found['survived']} survived")


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]), sys.argv[2:])
