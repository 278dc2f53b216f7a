"""mod_wsgi under a real Apache: one of its daemon processes reports, and all serve."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import leaderlock
from tests.integrations.fleet import EXAMPLES, Fleet, free_port, get_page

MODULES = Path("/usr/lib/apache2/modules")
# Apache as root gives up its rights in the processes that serve.
CONFIGURATION = """\
ServerRoot {here}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {here}/apache.pid
ErrorLog {here}/output
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule wsgi_module {modules}/mod_wsgi.so
User nobody
Group nogroup
WSGISocketPrefix {here}/wsgi
Include ${{EXAMPLES}}/mod_wsgi.conf
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that any user may enter, with the package and the example; not so a checkout."""
    with tempfile.TemporaryDirectory(prefix="leaderlock-test-") as name:
        place = Path(name)
        place.chmod(0o755)
        shutil.copytree(Path(leaderlock.__file__).parent, place / "packages" / "leaderlock")
        for example in EXAMPLES.glob("mod_wsgi*"):
            shutil.copy(example, place / "packages")
        (place / "locks").mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(place / "locks", "nobody")
        yield place


class Apache(Fleet):
    """One Apache; what a process prints is a line of its error log."""

    def __init__(self, place: Path, port: int) -> None:
        configuration = place / "apache.conf"
        configuration.write_text(CONFIGURATION.format(here=place, port=port, modules=MODULES))
        command = ["/usr/sbin/apache2", "-f", configuration, "-DFOREGROUND"]
        super().__init__(place, command)
        self.environment["EXAMPLES"] = self.environment["PYTHONPATH"] = str(place / "packages")


def test_the_example_has_one_leader_and_another_one_when_that_is_killed(place: Path) -> None:
    port = free_port()
    with Apache(place, port) as apache:
        apache.check_failover(4, replaced=True)
        standing = apache.until_standing(4)
        answered = re.fullmatch(r"process (\d+) leads: (True|False)", get_page(port))
        assert answered
        assert int(answered[1]) in standing


def test_a_server_that_is_shut_down_ends_its_task_in_good_order(place: Path) -> None:
    port = free_port()
    with Apache(place, port) as apache:
        apache.until_standing(4)
        get_page(port)
        apache.check_shutdown()
