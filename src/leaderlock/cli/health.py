"""``leaderlock health``: tells a container's probe whether the newest report is good.

A probe runs every few seconds, so this module imports neither the reporter nor the lock.
"""

from __future__ import annotations

from leaderlock.cli.command import Command
from leaderlock.cli.options import HELP, Option, UsageError, seconds
from leaderlock.health.probe import NotHealthyError, judge, read
from leaderlock.wording import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

HEALTHY = 0
NOT_HEALTHY = 1

OPTIONS = (
    HELP,
    Option(
        "--max-age",
        value="SECONDS",
        convert=seconds,
        help="an older report is not healthy (default: 3 × the reporter's interval)",
    ),
)

COMMAND = Command(
    "health",
    "is the newest health report good? A probe",
    operands="FILE",
    completes="file",
    text="""\
Reads the report in FILE, which sinks.file(FILE) writes. The exit status says whether the
report is recent and good; one line gives the reason. The age is that of the report or
that of the file, whichever is older. A degraded service counts as healthy, since a
restart would not repair it.

A leader that hangs is replaced when its lease ends. If the reporter has a lease, choose
a --max-age longer than the lease, an interval and the slowest check together.""",
    groups=(("Options", OPTIONS),),
    statuses=(
        ("0", "the status is ok or degraded"),
        ("1", "it is failing, or the report is too old, missing or unreadable"),
        ("2", "wrong usage"),
    ),
    examples=(
        ("leaderlock health /run/app/health.json", "Is the service healthy?"),
        (
            'HEALTHCHECK CMD ["leaderlock", "health", "--max-age", "60", "/run/app/health.json"]',
            "In a Dockerfile: a container without a report for a minute is not healthy.",
        ),
    ),
)


def main(words: Sequence[str]) -> int:
    """Print the line, and return the exit status."""
    parsed = COMMAND.parse(words)
    if parsed.get("help"):
        print(COMMAND.help(), end="")
        return 0
    if len(parsed.words) != 1:
        raise UsageError("one FILE is needed: the one that sinks.file() writes")
    [path] = parsed.words
    try:
        print(_printable(judge(*read(path), parsed.get("max_age"))))
    except NotHealthyError as why:
        print(_printable(f"not healthy: {path}: {why}"))
        return NOT_HEALTHY
    return HEALTHY


def _printable(text: str) -> str:
    line = printable(" ".join(text.split()))  # an error may have several lines
    return line if len(line) <= 1000 else line[:999] + "…"
