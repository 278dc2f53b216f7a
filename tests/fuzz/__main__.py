"""``make fuzz MINUTES=…``: hostile input for every parser in turn, until the time is over.

Prints the numbers as a table; the exit status is 1 if anything was found.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
import warnings

import tests.conftest  # noqa: F401  (the profile of hypothesis)
from tests.fuzz.running import attack, new_seed
from tests.fuzz.targets import TARGETS

_EXAMPLES = 400
"""Inputs for one target in one round."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", default="", help="a part of a target's name")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # of hypothesis, about large inputs
    number, until = new_seed(), time.monotonic() + 60 * arguments.minutes
    targets = [target for target in TARGETS if arguments.only in target.name]
    counts, found = dict.fromkeys((target.name for target in targets), 0), 0
    while targets and time.monotonic() < until:
        for target in list(targets):
            if time.monotonic() > until:
                break
            try:
                counts[target.name] += attack(target, _EXAMPLES, number)
            except Exception:  # noqa: BLE001  (whatever it is, it is a find)
                print(f"{target.name}, seed {number}:", file=sys.stderr)
                traceback.print_exc()
                targets.remove(target)
                found += 1
        number += 1
    print("| what parses | inputs |\n| --- | ---: |")
    for name, count in counts.items():
        print(f"| {name} | {count:,} |")
    print(f"| **all** | **{sum(counts.values()):,}** |\n\n{found} found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
