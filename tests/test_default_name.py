"""The default name of a lock: one for a program, however its file is named; two for two programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from leaderlock.lock.naming import function_name

PROGRAM = """
import functools, sys
from leaderlock.lock.naming import function_name, own_name
from leaderlock.health import HealthReporter

class Job:
    def __call__(self, leadership): ...

def job(leadership): ...
def other(leadership): ...

exec(compile("def executed(leadership): ...", "conf", "exec"))
print(*map(function_name, [job, functools.partial(job), functools.partial(other)]))
print(function_name(Job()), own_name(HealthReporter(interval=10)), function_name(executed))
"""


def names(directory: Path, program: str | Path) -> list[str]:
    run = subprocess.run(
        [sys.executable, program], cwd=directory, capture_output=True, text=True, check=True
    )
    return run.stdout.split()


def test_scripts_of_one_name_in_two_directories_have_nothing_in_common(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "program.py").write_text(PROGRAM)
        found.append(names(tmp_path / name, "program.py"))
    assert len(found[0]) == len(found[1]) == 6
    assert not set(found[0]) & set(found[1])


def test_a_script_has_one_name_however_its_path_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "program.py").write_text(PROGRAM)
    (tmp_path / "link").symlink_to("real")
    here = names(tmp_path / "real", "program.py")
    assert names(tmp_path, "link/program.py")[:5] == here[:5]
    assert names(Path("/"), tmp_path / "real" / "program.py")[:5] == here[:5]


def test_a_partial_has_the_name_of_its_function(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    job, partial_of_job, partial_of_other, *_ = names(tmp_path, "program.py")
    assert job == partial_of_job
    assert job != partial_of_other


def test_a_function_of_a_relative_file_is_found_after_a_change_of_directory(tmp_path: Path) -> None:
    namespace: dict[str, object] = {"__file__": str(tmp_path / "conf")}
    exec(compile("def job(leadership): ...", "conf", "exec"), namespace)
    job = namespace["job"]
    assert callable(job)
    assert function_name(job) == function_name(job, place=str(tmp_path / "conf"))
