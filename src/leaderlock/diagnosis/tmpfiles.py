"""Whether systemd-tmpfiles will delete a file: its configuration, read as it reads it.

tmpfiles.d(5): the files of a few directories, in the order of their names; a file hides those of the
same name in later directories. Compared with systemd-tmpfiles itself in
`tests/test_kernel_tmp_cleaners.py`.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from fnmatch import fnmatchcase

DIRECTORIES = tuple(
    f"{above}/tmpfiles.d" for above in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
)

_SPECIFIERS = {
    "t": "/run",
    "T": "/tmp",
    "V": "/var/tmp",
    "S": "/var/lib",
    "C": "/var/cache",
    "L": "/var/log",
    "h": "/root",
    "%": "%",
}
_AGED = frozenset("dDevqQC")
_WITH_GLOBS = frozenset("ewxXrRzZtThHaA")
_UNITS = {
    "us": 1e-6,
    "usec": 1e-6,
    "ms": 1e-3,
    "msec": 1e-3,
    "": 1.0,
    **dict.fromkeys(["s", "sec", "second", "seconds"], 1.0),
    **dict.fromkeys(["m", "min", "minute", "minutes"], 60.0),
    **dict.fromkeys(["h", "hr", "hour", "hours"], 3600.0),
    **dict.fromkeys(["d", "day", "days"], 86400.0),
    **dict.fromkeys(["w", "week", "weeks"], 7 * 86400.0),
    **dict.fromkeys(["M", "month", "months"], 30.44 * 86400.0),
    **dict.fromkeys(["y", "year", "years"], 365.25 * 86400.0),
}


@dataclass(frozen=True)
class Cleaning:
    """The line by which systemd-tmpfiles deletes a file that has not been used for some time.

    Attributes:
        file: the configuration file.
        line: its line.
        directory: whose contents it cleans.
        age: seconds after which what has not been read, written or changed is deleted.
    """

    file: str
    line: str
    directory: str
    age: float


@dataclass(frozen=True)
class _Line:
    file: str
    text: str
    kind: str
    path: str
    age: float | None
    spares_first_level: bool

    def names(self, path: str) -> bool:
        if self.kind not in _WITH_GLOBS:
            return self.path == path
        ours, theirs = path.split("/"), self.path.split("/")
        return len(ours) == len(theirs) and all(map(fnmatchcase, ours, theirs))


def cleaning_of(path: str, *, root: str = "/") -> Cleaning | None:
    """What will delete the file at an absolute path without symlinks; None if nothing does.

    A path that has a line of its own is spared, and so is all that lies under one marked ``x``. What is
    mounted inside the directory that is cleaned is spared too. Lines that act at boot alone (``D``,
    ``R``, ``!``) do not count: nobody holds a lock then.

    Args:
        path: the file's, as seen inside `root`.
        root: where the configuration lies, as systemd-tmpfiles' ``--root``.
    """
    lines = _lines(root)
    if any(line.names(path) for line in lines):
        return None
    directory, depth = os.path.dirname(path), 1
    while True:
        # X spares the directory itself, and what is in it has the age of a directory above.
        here = [line for line in lines if line.names(directory) and line.kind != "X"]
        aged = next((line for line in here if line.age is not None), None)
        if aged is not None and not (aged.spares_first_level and depth == 1):
            if _other_device(root + path, root + directory):
                return None
            return Cleaning(aged.file, aged.text, directory, aged.age or 0)
        if here or directory == "/":
            return None
        directory, depth = os.path.dirname(directory), depth + 1


def _lines(root: str) -> list[_Line]:
    files: dict[str, str] = {}
    for directory in DIRECTORIES:
        try:
            names = os.listdir(root.rstrip("/") + directory)
        except OSError:  # ENOENT; EACCES: what this user may not read it cannot be told
            continue
        for name in names:
            if name.endswith(".conf"):
                files.setdefault(name, os.path.join(directory, name))
    lines: list[_Line] = []
    seen = set()
    for name in sorted(files):
        for line in _lines_of(root, files[name]):
            # Of several lines that make one path, the first one counts.
            if line.kind not in _AGED or line.path not in seen:
                lines.append(line)
            if line.kind in _AGED:
                seen.add(line.path)
    return lines


def _lines_of(root: str, file: str) -> list[_Line]:
    try:
        with open(root.rstrip("/") + file, encoding="utf-8", errors="surrogateescape") as opened:
            texts = [text.strip() for text in opened]
    except OSError:  # ENOENT: a dangling symlink; EACCES: as above
        return []
    parsed = [_parse(file, text) for text in texts if text and not text.startswith("#")]
    return [line for line in parsed if line is not None]


def _parse(file: str, text: str) -> _Line | None:
    try:
        words = shlex.split(text)
        kind, path = words[0], _expanded(words[1])
    except (ValueError, IndexError):  # quotes that do not end; a specifier that is not known here
        return None
    if "!" in kind:
        return None
    age = words[5] if len(words) > 5 else "-"
    seconds = None
    if kind[0] in _AGED and age != "-":
        try:
            seconds = _seconds(age.lstrip("~"))
        except ValueError:  # systemd ignores such a line as well
            return None
    return _Line(file, text, kind[0], os.path.normpath(path), seconds, age.startswith("~"))


def _expanded(path: str) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in _SPECIFIERS:
            raise ValueError(match[0])
        return _SPECIFIERS[match[1]]

    return re.sub(r"%(.)", value, path)


def _seconds(age: str) -> float:
    r"""Seconds of ``10d`` or ``1h 30min``; before a colon may stand by which times the age counts."""
    span = re.sub(r"^[abcmABCM]+:", "", age)
    parts = re.findall(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)", span)
    if not parts or re.sub(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)", "", span).strip():
        raise ValueError(age)
    try:
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    except KeyError:
        raise ValueError(age) from None


def _other_device(path: str, directory: str) -> bool:
    """Whether something is mounted between the two: that is not cleaned."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    try:
        return os.stat(path).st_dev != os.stat(directory).st_dev
    except OSError:  # ENOENT: it is not there yet, so nothing is mounted on it; EACCES
        return False
