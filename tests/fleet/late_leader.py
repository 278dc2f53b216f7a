"""The leader of an example of fencing: writes what it reads, and says what the store answers.

late_leader.py EXAMPLE ELECTION STORE LEASE [VARIANT]

It reads one Python literal from each line. With a variant of `tests.fleet.unsafe`, it goes on after its
lease has passed, as a virtual machine that was paused, clock and all.
"""

from __future__ import annotations

import ast
import os
import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from leaderlock import Election, Leadership
from tests.fleet import unsafe


def main(example: str, election: str, store: str, lease: str, variant: str = "") -> None:
    names = runpy.run_path(example)
    if variant:
        unsafe.VARIANTS[variant].patch()

    def task(leadership: Leadership) -> None:
        report = names["Report"](store)
        print(f"leads {leadership.term}", flush=True)
        for line in sys.stdin:
            try:
                report.write(ast.literal_eval(line), leadership.term)
            except names["TermIsOver"] as error:
                print(f"refused: {error}", flush=True)
            else:
                print("accepted", flush=True)
        os._exit(0)

    Election(election, lease=float(lease)).run(task)


if __name__ == "__main__":
    main(*sys.argv[1:])
