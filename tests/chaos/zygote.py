"""Forks candidates, busy processes and memory hogs: an interpreter that has imported all it needs.

zygote.py plain|green PAGE LIBRARY

Each line of its input is a request; it answers with the PID.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import logging
import os
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def _become_child(standard_input: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    _outlive_hogs(0)
    if group := os.environ["CHAOS_GROUP"]:
        Path(group).write_text("0", encoding="ascii")
    os.dup2(standard_input, 0)
    os.dup2(2, 1)


def _outlive_hogs(score: int) -> None:
    """Where memory is scarce, the kernel ends those with the greatest score first."""
    with contextlib.suppress(PermissionError):  # not root: the zygote cannot be spared
        Path("/proc/self/oom_score_adj").write_text(str(score), encoding="ascii")


def _be_busy(milliseconds: int) -> None:
    until = time.monotonic() + milliseconds / 1000
    while time.monotonic() < until:
        pass


def _be_greedy(megabytes: int) -> None:
    """Use memory until the control group has no more; the kernel then ends this process first."""
    _outlive_hogs(1000)
    pages = bytearray(megabytes << 20)
    for at in range(0, len(pages), 4096):
        pages[at] = 1


def main(flavour: str, page_path: str, library: str) -> None:
    if flavour == "green":
        from gevent import monkey

        monkey.patch_all()
    import leaderlock
    from tests.chaos import candidates
    from tests.chaos.page import Page

    kinds = dict(candidates.KINDS)
    if flavour == "green":
        kinds = {"green": importlib.import_module("tests.chaos.green").Green}
    unsafe = importlib.import_module("tests.chaos.unsafe").VARIANTS if flavour == "plain" else {}
    kinds |= unsafe
    page = Page(Path(page_path), Path(library))
    leaderlock.Election(f"{page_path}.lock", lease=1)  # imports all that a candidate needs
    # What is logged costs time, and is of no use here: errors alone are shown.
    logging.basicConfig(level=logging.CRITICAL)
    logging.getLogger("leaderlock").setLevel(os.environ.get("CHAOS_LOG", "CRITICAL"))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _outlive_hogs(-1000)
    nothing = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    requests = os.fdopen(os.dup(0), "rb", buffering=0, closefd=True)
    answers = os.dup(1)
    while line := requests.readline():
        what, *arguments = line.decode().split()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                _become_child(nothing)
                with contextlib.suppress(OSError):
                    requests.close()
                os.close(answers)
                if what == "busy":
                    _be_busy(int(arguments[0]))
                elif what == "greedy":
                    _be_greedy(int(arguments[0]))
                else:
                    candidates.live(kinds[what], page, int(arguments[0]), arguments[1])
                status = 0
            except BaseException:  # noqa: BLE001  (it must not return to the loop of the zygote)
                import traceback

                os.write(2, f"{what} {arguments}: {traceback.format_exc()}\n".encode())
            finally:
                os._exit(status)
        os.write(answers, f"{pid}\n".encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
