"""Prints the pins that a user's installation has: those of an extra, and of what they need.

    python scripts/runtime_pins.py all requirements-dev.txt

The needs are read from the metadata of the packages that are installed beside this interpreter.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(package: str, extras: set[str]) -> set[str]:
    """The names of all packages that a package with these extras needs here."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [(package, extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            lines = requires(name) or []
        except PackageNotFoundError:  # for another system or another Python
            continue
        for each in map(Requirement, lines):
            if each.marker is None or each.marker.evaluate({"extra": extra}):
                other = canonicalize_name(each.name)
                found.add(other)
                waiting += [(other, more) for more in ("", *each.extras)]
    return found - {package}


def pins(text: str) -> Iterator[tuple[str, str]]:
    """The name and the lines of each pin."""
    for block in re.findall(r"^[\w.-]+==.*?(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL):
        yield canonicalize_name(block.partition("==")[0]), block


if __name__ == "__main__":
    names = needed("leaderlock", {sys.argv[1]})
    for name, block in pins(Path(sys.argv[2]).read_text(encoding="utf-8")):
        if name in names:
            sys.stdout.write(block)
