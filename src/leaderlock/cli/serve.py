"""``leaderlock serve``: serves the status page with the standard library's server."""

from __future__ import annotations

import signal
import sys
import threading

from leaderlock.cli.command import Command
from leaderlock.cli.names import NAMES, NOTES, chosen, split
from leaderlock.cli.options import HELP, Option, UsageError
from leaderlock.errors import LeaderLockError
from leaderlock.kernel.arguments import whole_number
from leaderlock.web.hosts import is_loopback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from leaderlock.web.server import Server

_PORT = 8642


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]") or (":" in host and not host.startswith("[")):
        host, port = text, str(_PORT)  # no port, for example an IPv6 address
    host = host.removeprefix("[").removesuffix("]")
    if not host:
        raise ValueError("an address is needed: 127.0.0.1:8642, [::1]:8642; 0.0.0.0 for all of IPv4")
    number = whole_number(port, 65535)
    if number is None:
        raise ValueError("the port must be a number from 0 to 65535")
    return host, number


OPTIONS = (
    HELP,
    NAMES,
    Option(
        "--bind",
        value="ADDRESS",
        convert=_address,
        help=f"where to listen, HOST:PORT (default: 127.0.0.1:{_PORT}; port 0: a free one)",
    ),
    Option(
        "--health",
        value="FILE",
        help="show the newest report in FILE, which sinks.file() writes",
        completes="file",
    ),
    Option("--host", value="NAME", many=True, help="answer to this host name, too; may be repeated"),
)

COMMAND = Command(
    "serve",
    "a web page of status and history",
    operands="[PATH|NAME|URL...]",
    completes="lock",
    text="""\
Serves a page that shows who leads, who waits, the last terms, and the newest health
report, live, until SIGINT or SIGTERM. Without a path, every leaderlock lock on the
machine that can be seen is shown. For the URL of a fleet's election, the page shows the
leader, on any machine, as the engine reports it. The page changes nothing.

The page has no password, and it shows command lines and users: make sure that only people
who may see these can reach the page. On a loopback address the server answers only
requests for the names of loopback.""",
    groups=(("Options", OPTIONS),),
    notes=f"Below the page: /status.json, /history.json, /events, /metrics, /healthz.\n\n{NOTES}",
    statuses=(
        ("0", "a signal has ended it"),
        ("125", "the address cannot be used"),
        ("2", "wrong usage"),
    ),
    examples=(
        ("leaderlock serve", f"All locks, on http://127.0.0.1:{_PORT}/."),
        (
            "leaderlock serve --health /run/app/health.json /run/app/leader.lock",
            "One lock, and the health report beside it.",
        ),
        (
            "leaderlock serve /run/app/leader.lock etcd://h1,h2,h3/app/beat",
            "A lock of this machine, and an election of the fleet.",
        ),
        (
            "leaderlock serve --bind 10.0.0.5:9100 --host metrics.internal",
            "For Prometheus on another machine, which scrapes /metrics.",
        ),
    ),
)

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def main(words: Sequence[str]) -> int:
    """Serve until a signal arrives, and return the exit status."""
    parsed = COMMAND.parse(words)
    if parsed.get("help"):
        print(COMMAND.help(), end="")
        return 0
    host, port = parsed.get("bind", ("127.0.0.1", _PORT))
    from leaderlock.web.over_wsgi import wsgi  # noqa: PLC0415
    from leaderlock.web.server import Server  # noqa: PLC0415  (only this command needs it)

    names = parsed.get("host")
    hosts = [*names, *_LOCAL_NAMES, host] if names else None
    urls, parsed.words = split(parsed.words)
    places = [*chosen(parsed), *urls]
    try:
        application = wsgi(places or None, parsed.get("health"), hosts=hosts)
    except ValueError as error:
        raise UsageError(str(error)) from None
    try:
        server = Server(host, port, application)
    except OSError as error:  # in use, not local, below 1024 without root, unknown name
        raise LeaderLockError(f"cannot listen on {host}, port {port}: {error.strerror}") from error
    _end_with_a_signal(server)
    address = server.server_name
    shown = f"[{address}]" if ":" in address else address
    print(f"leaderlock serves http://{shown}:{server.server_port}/", flush=True)
    if not is_loopback(address):
        print(
            f"leaderlock: warning: {shown} can be reached from other machines, and everybody who "
            f"reaches it sees command lines, users and paths, without a password: bind to 127.0.0.1, "
            f"and put a proxy that asks for one before it",
            file=sys.stderr,
            flush=True,
        )
    with server:
        server.serve_forever()
    return 0


def _end_with_a_signal(server: Server) -> None:
    def end(number: int, frame: FrameType | None) -> None:
        # `shutdown` waits for the loop, which runs in this thread.
        threading.Thread(target=server.shutdown).start()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
