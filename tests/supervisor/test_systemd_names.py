"""Where a named lock lies in units of a real systemd, booted in namespaces of its own."""

from __future__ import annotations

import os
import sys

import pytest

from tests.supervisor.systemd import Systemd, why_not

pytestmark = [
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
    pytest.mark.slow,
]


def unit(service: str) -> str:
    """A service that runs a command under the lock of the name `beat`, and tells the lock's path.

    DynamicUser= hides /var/tmp, where the checkout may be; the interpreter may be in root's home.
    """
    python = f"/run/python/bin/{os.path.basename(os.path.realpath(sys.executable))}"
    return f"""\
[Unit]
DefaultDependencies=no
[Service]
{service}
Environment=PYTHONPATH=/run/checkout/src
BindReadOnlyPaths={sys.base_prefix}:/run/python
ExecStart={python} -m leaderlock run --name beat -n -- sh -c 'echo lies at $LEADERLOCK_PATH'
"""


@pytest.mark.parametrize(
    ("name", "service", "place"),
    [
        ("root", "", "/run/leaderlock/beat.lock"),
        ("runtime", "RuntimeDirectory=app", "/run/app/leaderlock/beat.lock"),
        (
            "dynamic",
            "DynamicUser=yes\nRuntimeDirectory=dyn\nRuntimeDirectoryPreserve=yes",
            "/run/dyn/leaderlock/beat.lock",
        ),
    ],
)
def test_a_unit_finds_its_place(systemd: Systemd, name: str, service: str, place: str) -> None:
    systemd.add(f"{name}.service", unit(service).replace("$", "$$"))
    systemd.systemctl("start", f"{name}.service")
    assert place in systemd.until_journal("^lies at |leaderlock: |Failed with result"), (
        systemd.journal()
    )
