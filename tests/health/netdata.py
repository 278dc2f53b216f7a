"""Netdata as the real StatsD server: it takes tags, and tells by its own interface what it got."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

from tests.processes import PATIENCE, until

PROGRAM = shutil.which("netdata", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

# Of all that it could collect and do, the StatsD server alone.
_CONFIGURATION = """\
[global]
 run as user = {user}
[directories]
 config = {place}
 stock config = {place}
 cache = {place}/cache
 lib = {place}/lib
 log = {place}/log
 home = {place}
 plugins = {place}/plugins
[db]
 mode = ram
[plugins]
 proc = no
 diskspace = no
 cgroups = no
 tc = no
 idlejitter = no
 timex = no
 loops = no
 netdata monitoring = no
 enable running new plugins = no
[web]
 bind to = unix:{place}/web
[health]
 enabled = no
[ml]
 enabled = no
[registry]
 enabled = no
[statsd]
 enabled = yes
 bind to = udp:127.0.0.1:{port}
"""


class Netdata:
    """Runs within the `with` statement."""

    def __init__(self, place: Path) -> None:
        self._place = place
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def __enter__(self) -> Netdata:
        import pwd

        for name in ("cache", "lib", "log", "plugins"):
            (self._place / name).mkdir()
        (self._place / ".opt-out-from-anonymous-statistics").touch()
        (self._place / "cloud.conf").write_text("[global]\n enabled = no\n")
        configuration = self._place / "netdata.conf"
        user = pwd.getpwuid(os.geteuid()).pw_name
        configuration.write_text(_CONFIGURATION.format(place=self._place, port=self.port, user=user))
        assert PROGRAM is not None
        with (self._place / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [PROGRAM, "-D", "-c", configuration, "-P", self._place / "pid"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        until(self._listens, "netdata to listen")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # it takes seconds to end by itself, and leaves no children
        self._process.wait(PATIENCE)

    def gauges(self) -> dict[str, float]:
        """The newest value of each gauge; it collects once a second."""
        charts = self._ask("/api/v1/allmetrics?format=json")
        prefix, suffix = "statsd_", "_gauge"
        return {
            name[len(prefix) : -len(suffix)]: chart["dimensions"]["gauge"]["value"]
            for name, chart in charts.items()
            if name.startswith(prefix) and name.endswith(suffix)
        }

    def _listens(self) -> bool:
        assert self._process.poll() is None, (self._place / "output").read_text()
        bound = f"0100007F:{self.port:04X}"  # /proc/net/udp has it in this byte order
        return bound in Path("/proc/net/udp").read_text() and (self._place / "web").exists()

    def _ask(self, path: str) -> Any:
        connection = http.client.HTTPConnection("netdata")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(PATIENCE)
        try:
            connection.sock.connect(str(self._place / "web"))
            connection.request("GET", path)
            return json.load(connection.getresponse())
        finally:
            connection.close()
