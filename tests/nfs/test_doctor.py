"""What the doctor and its experiments say of NFS, of a local disk and of memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.nfs.conftest import Start
from tests.nfs.mounts import LOCAL, VERSIONS, directory

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("nfs")]
LOCALLY = {"ext4": "/srv", "tmpfs": "/run"}
READ_ONLY = "a read-only descriptor"


def diagnosis(start: Start, place: str, path: str) -> tuple[int, dict[str, Any]]:
    """The exit status and the document of ``leaderlock doctor --json``."""
    status, output = start(place).tell(
        f"(lambda done: (done.returncode, done.stdout or done.stderr))(__import__('subprocess').run("
        f"[sys.executable, '-m', 'leaderlock', 'doctor', '--json', {path!r}], "
        f"capture_output=True, text=True))"
    )
    assert output.startswith("{"), output
    return status, json.loads(output)


def failures(document: dict[str, Any]) -> dict[str, str]:
    """The outcome of each experiment that did not end as on a local file system."""
    return {trial["name"]: trial["outcome"] for trial in document["experiments"] if not trial["passed"]}


@pytest.mark.parametrize("kind", LOCALLY)
def test_the_doctor_finds_nothing_wrong_with_local_files(start: Start, kind: str) -> None:
    _, document = diagnosis(start, "server", LOCALLY[kind])
    files = document["filesystem"]
    assert (files["kind"], files["verdict"], files["keeper"]) == (kind, "good", "kernel")
    assert failures(document) == {}


@pytest.mark.parametrize("options", [*VERSIONS, LOCAL])
def test_the_doctor_doubts_nfs_and_tells_who_keeps_the_lock(start: Start, options: str) -> None:
    status, document = diagnosis(start, "a", directory("a", options))
    files = document["filesystem"]
    assert files["kind"] == ("nfs" if "vers=3" in options else "nfs4")
    assert files["keeper"] == ("kernel" if options == LOCAL else "server")
    assert files["shared"]
    assert (status, document["verdict"], files["verdict"]) == (1, "doubtful", "doubtful")


@pytest.mark.parametrize("options", [*VERSIONS, LOCAL])
def test_the_experiments_on_nfs_go_as_locally_but_for_a_read_only_descriptor_of_version_4(
    start: Start, options: str
) -> None:
    _, document = diagnosis(start, "a", directory("a", options))
    assert len(document["experiments"]) > 5, document["experiments"]
    refused = [name for name in failures(document) if name.startswith(READ_ONLY)]
    assert list(failures(document)) == refused
    assert len(refused) == ("vers=4" in options)
