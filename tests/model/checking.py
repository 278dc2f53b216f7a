"""Checks the model of the lock with Spin: once whole, and once for each step that is left out."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

MODEL = Path(__file__).with_name("lock.pml")

_DELETED = ("-DDELETIONS=1",)
_CUT = ("-DDELETIONS=0", "-DCUTS=1")
_FORKED = ("-DDELETIONS=0", "-DCHILDREN")
SAFETY, LEADS, ENDS = "", "someone_leads", "old_leaders_end"


class Variant(NamedTuple):
    """A way to check the model.

    Attributes:
        drops: the step that is left out; empty: none.
        prop: the property in linear temporal logic; empty: the assertions.
        world: what may happen beside crashes.
        words: the step in words.
    """

    drops: str
    prop: str
    world: tuple[str, ...]
    words: str


VARIANTS = [
    Variant("", SAFETY, _DELETED, "nothing, where a file is deleted"),
    Variant("VERIFY", SAFETY, _DELETED, "compare the path with the locked file"),
    Variant("WRITE_BEFORE_LEADING", SAFETY, _DELETED, "write the term before leading"),
    Variant("STOP_BEFORE_UNLOCK", SAFETY, _DELETED, "stop the task before the unlock"),
    Variant("", SAFETY, _CUT, "nothing, where a file is overwritten"),
    Variant("SECOND_COPY", SAFETY, _CUT, "write the record twice"),
    Variant("MEMORY", SAFETY, _CUT, "remember the greatest term that was read"),
    Variant("MEND", SAFETY, _CUT, "mend the record at the release"),
    Variant("CORRUPT_ERROR", SAFETY, _CUT, "refuse a file without a whole record"),
    Variant("", LEADS, _FORKED, "nothing, where the task forks"),
    Variant("CALL_OFF", LEADS, _FORKED, "close what a wait that was called off has locked"),
    Variant("UNLOCK", LEADS, _FORKED, "unlock before the close"),
    Variant("", ENDS, _DELETED, "nothing, where a file is deleted"),
    Variant("WATCH", ENDS, _DELETED, "watch the path while leading"),
    Variant("LOOK_AFTER_WATCH", ENDS, _DELETED, "look at the path after the watch has begun"),
]


class Result(NamedTuple):
    """What Spin has found.

    Attributes:
        holds: whether the property holds in every state.
        states: the number of states looked at.
    """

    holds: bool
    states: int


def check(variant: Variant, directory: Path, processes: int = 2) -> Result:
    """Look at every state of a variant of the model."""
    (directory / MODEL.name).write_bytes(MODEL.read_bytes())
    words = [f"-DN={processes}", "-DCRASHES=1", "-DTERMS=2", *variant.world]
    if variant.drops:
        words.append(f"-DDROP_{variant.drops}")
    _run(["spin", "-a", *words, MODEL.name], directory)
    kind = ["-DNFAIR=8"] if variant.prop else ["-DSAFETY", "-DNOCLAIM"]
    _run(["gcc", "-O1", "-w", "-DCOLLAPSE", *kind, "-o", "pan", "pan.c"], directory)
    # Without -a and -f a cycle is no error; -f: a process that can go on does so in the end.
    how = ["-a", "-f", "-N", variant.prop] if variant.prop else ["-E"]
    said = _run(["./pan", "-m1000000", *how], directory)
    errors, states = re.search(r"errors: (\d+)", said), re.search(r"(\d+) states, stored", said)
    assert errors, said
    assert states, said
    assert "max search depth too small" not in said
    return Result(errors[1] == "0", int(states[1]))


def _run(words: list[str], directory: Path) -> str:
    done = subprocess.run(words, cwd=directory, capture_output=True, text=True, check=True)
    return done.stdout
