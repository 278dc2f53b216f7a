"""Real file systems for the tests: each kind that the running kernel may mount, and FUSE."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Child, needs_root
from tests.raw_flock import mounted_at

LOCAL = ("ext4", "xfs", "btrfs", "tmpfs", "overlay")
"""On which flock is the kernel's own."""

SIZE = 512 << 20
"""Bytes, of which next to none are used; mkfs.xfs wants 300 MiB."""


@contextlib.contextmanager
def made(kind: str, directory: Path) -> Iterator[Path]:
    """A new file system of one of the kinds, or `fuse-local`, `fuse-refused` (see fuse_files.py)."""
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    with contextlib.ExitStack() as stack:
        place = directory / kind
        if kind == "tmpfs":
            yield stack.enter_context(mounted_at(place, "-t", "tmpfs", "tmpfs"))
        elif kind == "overlay":
            # Layers on two file systems, where the kernel's own numbers are not stat(2)'s.
            lower, upper = directory / "lower", directory / "upper"
            lower.mkdir()
            stack.enter_context(mounted_at(upper, "-t", "tmpfs", "tmpfs"))
            for name in ("files", "work"):
                (upper / name).mkdir()
            layers = f"lowerdir={lower},upperdir={upper}/files,workdir={upper}/work"
            yield stack.enter_context(mounted_at(place, "-t", "overlay", "-o", layers, "overlay"))
        elif kind.startswith("fuse-"):
            yield stack.enter_context(fuse(kind.removeprefix("fuse-"), place, directory / "beneath"))
        else:
            image = directory / "image"
            with image.open("wb") as file:
                file.truncate(SIZE)
            subprocess.run([f"mkfs.{kind}", "-q", image], check=True, capture_output=True)
            yield stack.enter_context(mounted_at(place, "-o", "loop", image))


@contextlib.contextmanager
def fuse(mode: str, place: Path, beneath: Path) -> Iterator[Path]:
    """A FUSE file system, whose server ends when it is unmounted."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("there is no /dev/fuse")
    place.mkdir()
    beneath.mkdir()
    with Child(place, beneath, mode, program=Path(__file__).with_name("fuse_files.py")) as server:
        try:
            assert server.line() == "mounted"
        except EOFError:
            pytest.skip("libfuse does not mount here")
        try:
            yield place
        finally:
            subprocess.run(["umount", "-l", place], check=True)
