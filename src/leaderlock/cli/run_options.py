"""The options of `run`, including those that it shares with `init`."""

from __future__ import annotations

from leaderlock.cli.options import HELP, Option, command_words, exit_status, seconds, web_address
from leaderlock.supervisor.restart import restart_limit
from leaderlock.supervisor.schedule import Schedule
from leaderlock.supervisor.settings import DEFAULT_SCHEDULE
from leaderlock.supervisor.signals import signal_number

CONFLICT = 75

GROUP = Option("-g", "--group", help="send signals to the command's whole process group")
SUBREAPER = Option("-s", "--subreaper", help="become the parent of orphans even if not PID 1")
PARENT_DEATH_SIGNAL = Option(
    "-p",
    "--parent-death-signal",
    value="SIGNAL",
    convert=signal_number,
    help="get SIGNAL from the kernel when the parent of leaderlock ends",
    completes=("TERM", "INT", "QUIT", "HUP", "KILL", "USR1", "USR2"),
)
VERBOSE = Option(
    "-v", "--verbose", many=True, help="log each step; given twice, also each signal and orphan"
)

LOCK = (
    Option(
        "--lock",
        value="PATH|URL",
        help="the lock file, made if missing; or a URL such as etcd://host/app/beat",
        completes="lock",
        instead_of=("name",),
    ),
    Option(
        "--name",
        value="NAME",
        help="a lock by name, in place of a path",
        completes="name",
        instead_of=("lock",),
    ),
    Option(
        "--lease",
        value="SECONDS",
        convert=seconds,
        help="with a URL: kill a leader that has not renewed its session so long (15)",
    ),
    Option(
        "--within",
        value="PATH",
        help="with a URL: elect one process of this machine first, by this lock file",
        completes="file",
    ),
    Option("-n", "--nonblock", help="do not wait for the lock", instead_of=("wait",)),
    Option(
        "-w",
        "--wait",
        value="SECONDS",
        convert=seconds,
        help="wait at most so long for the lock",
        instead_of=("nonblock",),
    ),
    Option(
        "-E",
        "--conflict-exit-code",
        value="CODE",
        convert=exit_status,
        help=f"exit status if the lock could not be acquired in time ({CONFLICT})",
    ),
    Option("-F", "--exec", help="become the command, which holds the lock by an inherited descriptor"),
)

DUTIES = (
    Option(
        "--stop",
        value="SCHEDULE",
        convert=Schedule,
        help=f"signals, and the seconds to wait after each ({DEFAULT_SCHEDULE})",
    ),
    GROUP,
    SUBREAPER,
    PARENT_DEATH_SIGNAL,
    Option(
        "--follow",
        help="treat a daemon that the command leaves behind as the command",
    ),
    Option(
        "--restart",
        value="WHEN",
        choices=("never", "on-failure", "always"),
        help="start the command again: never (the default), on-failure, always",
    ),
    Option(
        "--restart-limit",
        value="N/SECONDS",
        convert=restart_limit,
        help="restart at most N times in SECONDS (5/60)",
    ),
    Option("--resign-on-failure", help="release the lock before a restart after a failure"),
    VERBOSE,
    HELP,
)

SIDECARS = (
    Option(
        "--sidecar",
        value="COMMAND",
        convert=command_words,
        completes="command",
        many=True,
        help="run COMMAND beside the command, and end it last; repeatable",
    ),
    Option(
        "--log-sidecar",
        value="COMMAND",
        convert=command_words,
        completes="command",
        help="a sidecar that reads the command's output as its input",
    ),
    Option(
        "--sidecar-grace",
        value="SECONDS",
        convert=seconds,
        help="how long a sidecar may take to end after its input is closed (2)",
    ),
    Option(
        "--sidecar-exit",
        value="WHAT",
        choices=("stop", "restart", "ignore"),
        help="if a sidecar ends first: stop the command (the default), restart, ignore",
    ),
)

WATCHDOG = (
    Option(
        "--watchdog",
        value="SECONDS",
        convert=seconds,
        help="the command must send WATCHDOG=1 at least this often (sd_notify)",
    ),
    Option(
        "--ready-timeout",
        value="SECONDS",
        convert=seconds,
        help="the command must send READY=1 within this time",
    ),
)

PING = (
    Option(
        "--ping",
        value="URL",
        convert=web_address,
        help="request URL/start at the start, URL at an end with status 0, otherwise URL/fail",
    ),
)
