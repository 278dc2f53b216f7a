"""``leaderlock run``: runs a command under the lock, supervised as a good PID 1 would."""

from __future__ import annotations

import os
import sys

from leaderlock.cli.command import Command
from leaderlock.cli.options import UsageError
from leaderlock.cli.run_options import CONFLICT, DUTIES, LOCK, PING, SIDECARS, WATCHDOG
from leaderlock.errors import LeaderLockError
from leaderlock.kernel.signals import signal
from leaderlock.supervisor import messages, spawn
from leaderlock.supervisor.environment import environment
from leaderlock.supervisor.restart import RestartPolicy
from leaderlock.supervisor.schedule import Schedule
from leaderlock.supervisor.settings import DEFAULT_SCHEDULE, Settings
from leaderlock.supervisor.supervisor import Supervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from leaderlock.cli.options import Parsed
    from leaderlock.engines.engine import Engine

_OF_A_LOCK = (
    "nonblock",
    "wait",
    "conflict_exit_code",
    "exec",
    "resign_on_failure",
    "lease",
    "within",
)
"""Options that need a lock."""

COMMAND = Command(
    "run",
    "run a command, alone on this machine or as a container's PID 1",
    operands="-- COMMAND [ARGUMENT...]",
    completes="command",
    text="""\
Runs a command and does the duties of its parent: as a container's PID 1, or under a
lock, or both. Under a lock, one process on the machine runs the command, and the others
wait.""",
    groups=(
        ("Under a lock", LOCK),
        ("The command", DUTIES),
        ("Sidecars, such as a log shipper", SIDECARS),
        ("A watchdog, as systemd's, for a command that may hang", WATCHDOG),
        ("A monitoring service, such as healthchecks.io", PING),
    ),
    notes="""\
With a URL, one process of all machines runs the command. If leaderlock cannot renew its
session within the lease, the kernel kills it and the command, before another one leads.

leaderlock forwards every signal that it can catch to the command. SIGTERM stops the
command by the schedule; KILL goes to its whole process group. Processes that the command
leaves behind are stopped in the same way, before leaderlock exits. Under a lock this
includes daemons: run them in the foreground, or give --follow.

Under a lock the environment of the command has LEADERLOCK_TERM, a number that grows with
each holder, and LEADERLOCK_PATH. The command does not hold the lock itself, and is killed
if leaderlock is killed. With --exec the command itself holds the lock, by descriptor
$LEADERLOCK_FD, and so does each child that inherits the descriptor. Use --exec if the
command must have no second process beside it.""",
    statuses=(
        ("0-255", "the command's"),
        ("128+N", "signal N ended it, or ended the wait"),
        ("127", "the command is not found"),
        ("126", "the command cannot be run"),
        (f"{CONFLICT}", "the lock could not be acquired in time (-E names another status)"),
        ("125", "leaderlock failed"),
        ("2", "wrong usage"),
    ),
    examples=(
        (
            "leaderlock run --name beat -- celery -A app beat",
            "Start it several times on a machine: one runs, the others wait, and one of them takes "
            "over at once when the first one dies.",
        ),
        (
            "leaderlock run --lock /run/app/backup.lock -n -E 0 -- backup --all",
            "From cron: skip this run if the last one still runs.",
        ),
        (
            "leaderlock run --name backup -n --ping https://hc-ping.com/UUID -- backup --all",
            "A monitoring service raises the alarm if the backup fails, or does not run. The URL is a "
            "secret: the variable LEADERLOCK_RUN_PING keeps it out of the list of processes.",
        ),
        (
            "leaderlock run --lock postgresql://db/app#beat --lease 10 -- celery -A app beat",
            "Start it on several machines: one of them runs it.",
        ),
        (
            "leaderlock run --stop TSTP/0/TERM/25/KILL/5 --log-sidecar 'vector' -- sidekiq",
            "In a container: the command takes no more work, ends within 25 s, and loses no line of "
            "its log.",
        ),
        (
            "leaderlock run --watchdog 10 --restart on-failure -- worker",
            "leaderlock ends a worker that hangs, and starts it again.",
        ),
    ),
)


def main(words: Sequence[str]) -> int:
    """Run the command, and return the exit status."""
    parsed = COMMAND.parse(words)
    if parsed.get("help"):
        print(COMMAND.help(), end="")
        return 0
    if parsed.get("exec"):
        _refuse_parents_options(parsed)
    if not parsed.words or not parsed.words[0]:
        raise UsageError("no command is given: leaderlock run [OPTION...] -- COMMAND [ARGUMENT...]")
    settings = _settings(parsed)
    messages.verbosity = parsed.count("verbose")
    try:
        if parsed.get("exec"):
            return become(settings)
        _leave_pid1(settings)
        return _ended(settings, Supervisor(settings).run())
    except LeaderLockError as error:
        if settings.engine is None:
            raise
        from leaderlock.supervisor.lock_wait import Conflict, Ended  # noqa: PLC0415  (only with a lock)

        if isinstance(error, Conflict):
            status: int = parsed.get("conflict_exit_code", CONFLICT)
            return status
        if isinstance(error, Ended):
            return _ended(settings, error.status)
        raise


def _leave_pid1(settings: Settings) -> None:
    """As PID 1, go on in a child if the kernel must be able to kill the leader at its deadline."""
    if os.getpid() == 1 and settings.engine is not None and settings.engine.session is not None:
        from leaderlock.supervisor.outer import fork_supervisor  # noqa: PLC0415  (only PID 1 needs it)

        fork_supervisor()
        settings.below_pid1 = True


def _ended(settings: Settings, status: int) -> int:
    if status == 128 + signal.SIGINT and settings.shares_group:
        spawn.end_by_interrupt()
    return status


def _refuse_parents_options(parsed: Parsed) -> None:
    for option in (*DUTIES, *SIDECARS, *WATCHDOG, *PING):
        if option.name in parsed.values and option.name not in ("verbose", "parent_death_signal"):
            given = parsed.sources[option.name]
            raise UsageError(f"--exec leaves no parent beside the command, as {given} needs")


def _settings(parsed: Parsed) -> Settings:
    settings = Settings(parsed.words)
    settings.engine = _engine(parsed)
    settings.limit = 0 if parsed.get("nonblock") else parsed.get("wait")
    settings.schedule = parsed.get("stop") or Schedule(DEFAULT_SCHEDULE)
    settings.whole_group = parsed.get("group", False)
    settings.watchdog = parsed.get("watchdog")
    settings.ready_timeout = parsed.get("ready_timeout")
    for option, value in (
        ("--watchdog", settings.watchdog),
        ("--ready-timeout", settings.ready_timeout),
    ):
        if value == 0:
            raise UsageError(f"{option} must be more than 0")
    # Under a lock, no process that the command starts may escape and go on beside the next leader. And
    # orphans belong to a command with a watchdog: any of them may beat, or be MAINPID. (Not with
    # --exec: the command would stay a subreaper, and may not know how to be one.)
    settings.follow = parsed.get("follow", False)
    settings.subreaper = parsed.get("subreaper", False) or settings.follow
    locked = settings.engine is not None and sys.platform == "linux"
    if (settings.is_service or locked) and not parsed.get("exec"):
        settings.subreaper = True
    settings.parent_death_signal = parsed.get("parent_death_signal", 0)
    settings.ping = parsed.get("ping")
    settings.sidecars = parsed.get("sidecar", [])
    settings.log_sidecar = parsed.get("log_sidecar")
    settings.sidecar_grace = parsed.get("sidecar_grace", settings.sidecar_grace)
    settings.sidecar_exit = parsed.get("sidecar_exit", settings.sidecar_exit)
    limit = parsed.get("restart_limit", (5, 60))
    settings.restart = RestartPolicy(parsed.get("restart", "never"), *limit)
    settings.resign_on_failure = parsed.get("resign_on_failure", False)
    return settings


def _engine(parsed: Parsed) -> Engine | None:
    path, name = parsed.get("lock"), parsed.get("name")
    if path is not None and name is not None:
        raise UsageError(f"give {parsed.sources['lock']} or {parsed.sources['name']}, not both")
    if path is None and name is None:
        for option in _OF_A_LOCK:
            if option in parsed.values:
                given = parsed.sources[option]
                raise UsageError(
                    f"{given}: there is no lock to wait for: give --lock PATH or --name NAME"
                )
        return None
    from leaderlock.election.place import find_engine  # noqa: PLC0415  (only with a lock)
    from leaderlock.engines.urls import is_url  # noqa: PLC0415  (only with a lock)

    for option in ("lease", "within"):
        if option in parsed.values and not is_url(path):
            raise UsageError(
                f"{parsed.sources[option]} needs --lock with the URL of an engine; a command that may "
                f"hang needs --watchdog SECONDS"
            )
    try:
        return find_engine(path, name, lease=parsed.get("lease"), within=parsed.get("within")).engine
    except ValueError as error:
        raise UsageError(str(error)) from None


def become(settings: Settings) -> int:
    """Acquire the lock, and replace this process by the command, which keeps the lock's descriptor.

    Raises:
        UsageError: the engine has no descriptor to keep.
    """
    from leaderlock.engines.flock import FlockEngine  # noqa: PLC0415  (only with a lock)

    engine = settings.engine
    assert engine is not None
    if not isinstance(engine, FlockEngine):
        raise UsageError(
            f"--exec hands the descriptor of a lock file on to the command, and {engine.address} has "
            f"none: leave out --exec"
        )
    settings.schedule = None  # no supervisor will be there to stop anything
    tenure = Supervisor(settings).acquire(engine)
    fd = engine.lock.fileno()
    os.set_inheritable(fd, True)
    variables = {**environment(engine, tenure), "LEADERLOCK_FD": str(fd)}
    spawn.restore_default_signals()
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        spawn.replace(settings.command, variables)
    except OSError as error:
        tenure.resign("released")
        return spawn.report_failed_start(settings.command, error)
