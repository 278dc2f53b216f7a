"""Checks whether systemd-tmpfiles will delete a file: reads the configuration by the same rules.

The configuration (tmpfiles.d(5)) is in files of several directories, in the order of their names; a
file hides files of the same name in later directories. `tests/test_kernel_tmp_cleaners.py` compares the
results with systemd-tmpfiles itself.
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
        line: the line in the configuration file.
        directory: the directory whose content is cleaned.
        age: seconds after which a file that was not read, written or changed is deleted.
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
    """The line that will delete the file at an absolute path without symlinks; None if no line does.

    systemd-tmpfiles spares a path that has its own line, everything under a path marked ``x``, and file
    systems mounted inside the cleaned directory. Lines that act only at boot (``D``, ``R``, ``!``) do
    not count: no process holds a lock then.

    Args:
        path: the file's path, as seen inside `root`.
        root: the root of the configuration, as in systemd-tmpfiles' ``--root``.
    """
    lines = _lines(root)
    if any(line.names(path) for line in lines):
        return None
    directory, depth = os.path.dirname(path), 1
    while True:
        # X spares only the directory itself: its content has the age of a directory above.
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
        except OSError:  # ENOENT; EACCES: this user may not read the directory, so skip it
            continue
        for name in names:
            if name.endswith(".conf"):
                files.setdefault(name, os.path.join(directory, name))
    lines: list[_Line] = []
    seen = set()
    for name in sorted(files):
        for line in _lines_of(root, files[name]):
            # Of several lines that create one path, the first counts.
            if line.kind not in _AGED or line.path not in seen:
                lines.append(line)
            if line.kind in _AGED:
                seen.add(line.path)
    return lines


def _lines_of(root: str, file: str) -> list[_Line]:
    try:
        with open(root.rstrip("/") + file, encoding="utf-8", errors="surrogateescape") as opened:
            texts = [text.strip() for text in opened]
    except OSError:  # ENOENT: a dangling symlink; EACCES: this user may not read the file
        return []
    parsed = [_parse(file, text) for text in texts if text and not text.startswith("#")]
    return [line for line in parsed if line is not None]


def _parse(file: str, text: str) -> _Line | None:
    try:
        words = shlex.split(text)
        kind, path = words[0], _expanded(words[1])
    except (ValueError, IndexError):  # unclosed quotes; a specifier unknown to this module
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
    r"""Seconds of ``10d`` or ``1h 30min``; ignores a prefix with a colon, which names file times."""
    span = re.sub(r"^[abcmABCM]+:", "", age)
    parts = re.findall(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)", span)
    if not parts or re.sub(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)", "", span).strip():
        raise ValueError(age)
    try:
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    except KeyError:
        raise ValueError(age) from None


def _other_device(path: str, directory: str) -> bool:
    """Whether the path is on another file system than the directory, and so is not cleaned."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    try:
        return os.stat(path).st_dev != os.stat(directory).st_dev
    except OSError:  # ENOENT: the directory is missing, so nothing is mounted in it; EACCES
        return False
