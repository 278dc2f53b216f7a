"""What systemd-tmpfiles would delete, held against systemd-tmpfiles itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from leaderlock.diagnosis.tmpfiles import cleaning_of
from tests.raw_flock import locked, mounted_at

LONG_AGO = 1_000_000_000

# What each file of configuration holds, by its path. Ages count by access and change of the content
# ("am:"), which a test can set.
CONFIGURATION = {
    "/usr/lib/tmpfiles.d/tmp.conf": """
        # comment
        q /tmp 1777 root root am:10d
        q /var/tmp 1777 root root am:30d
        x /tmp/spared
        X /tmp/spared-itself
        x /tmp/glob-*
        d /tmp/own-line 0755 root root -
        D /tmp/boot-only 0755 root root -
        d /tmp/first-level 0755 root root ~am:1d
        e /srv/e-* - - - am:1d
        d /srv/zero 0755 root root 0
        d "/srv/with blank" 0755 root root am:1d
        d /srv/with\\x20escape 0755 root root am:1d
        d! /srv/at-boot 0755 root root am:1d
        d /srv/long 0755 root root am:100y
        d /srv/units 0755 root root "am:1h 30min"
        z /tmp/relabelled/inside
        L /tmp/link - - - - target
    """,
    "/usr/lib/tmpfiles.d/masked.conf": "d /srv/masked 0755 root root am:1d",
    "/etc/tmpfiles.d/masked.conf": "",
    "/usr/lib/tmpfiles.d/replaced.conf": "d /srv/replaced 0755 root root am:1d",
    "/run/tmpfiles.d/replaced.conf": "d /srv/replacing 0755 root root am:1d",
    "/usr/lib/tmpfiles.d/dots.conf": "d /tmp/../srv/dots - - - am:1d",
    "/usr/lib/tmpfiles.d/not-a-conf.txt": "d /srv/ignored 0755 root root am:1d",
    "/etc/tmpfiles.d/a-first.conf": "d /srv/twice 0755 root root -",
    "/etc/tmpfiles.d/b-second.conf": "d /srv/twice 0755 root root am:1d",
}

FILES = [
    "/tmp/plain.lock",
    "/tmp/deep/down/plain.lock",
    "/tmp/spared",
    "/tmp/spared-itself",
    "/tmp/glob-1",
    "/tmp/glob-2/inside.lock",
    "/tmp/own-line/inside.lock",
    "/tmp/boot-only/inside.lock",
    "/tmp/first-level/kept.lock",
    "/tmp/first-level/deeper/gone.lock",
    "/tmp/relabelled/inside",
    "/tmp/relabelled/beside",
    "/var/tmp/plain.lock",
    "/run/plain.lock",
    "/srv/plain.lock",
    "/srv/e-1/inside.lock",
    "/srv/zero/inside.lock",
    "/srv/with blank/inside.lock",
    "/srv/withx20escape/inside.lock",
    "/srv/at-boot/inside.lock",
    "/srv/long/inside.lock",
    "/srv/units/inside.lock",
    "/srv/masked/inside.lock",
    "/srv/replaced/inside.lock",
    "/srv/replacing/inside.lock",
    "/srv/dots/inside.lock",
    "/srv/ignored/inside.lock",
    "/srv/twice/inside.lock",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree with the configuration, and all of the files, last used long ago."""
    for path, content in CONFIGURATION.items():
        write(tmp_path, path, "\n".join(line.strip() for line in content.splitlines()))
    for path in FILES:
        file = write(tmp_path, path, "")
        os.utime(file, (LONG_AGO, LONG_AGO))
    return tmp_path


def write(root: Path, path: str, content: str) -> Path:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content + "\n")
    return file


def clean(root: Path) -> None:
    if shutil.which("systemd-tmpfiles") is None or os.geteuid() != 0:
        pytest.skip("needs systemd-tmpfiles, and root")
    words = ["systemd-tmpfiles", "--clean", f"--root={root}"]
    run = subprocess.run(words, capture_output=True, text=True)
    assert run.returncode in (0, 65, 73), run.stderr  # 65: a line that it did not like


def test_it_foresees_what_systemd_tmpfiles_deletes(root: Path) -> None:
    # /srv/long is old enough for nothing: what is asked is whether the line applies, not when.
    foreseen = {path for path in FILES if cleaning_of(path, root=str(root)) is not None}
    clean(root)
    deleted = {path for path in FILES if not (root / path.lstrip("/")).exists()}
    assert foreseen - {"/srv/long/inside.lock"} == deleted
    assert "/tmp/plain.lock" in deleted
    assert "/srv/zero/inside.lock" in deleted


def test_it_names_the_line_the_file_and_the_age(root: Path) -> None:
    found = cleaning_of("/tmp/deep/down/plain.lock", root=str(root))
    assert found is not None
    assert found.file == "/usr/lib/tmpfiles.d/tmp.conf"
    assert found.line == "q /tmp 1777 root root am:10d"
    assert (found.directory, found.age) == ("/tmp", 10 * 86400)
    units = cleaning_of("/srv/units/inside.lock", root=str(root))
    assert units is not None
    assert units.age == 90 * 60


def test_what_is_mounted_inside_is_spared(root: Path) -> None:
    path = "/tmp/mounted/plain.lock"
    with mounted_at(root / "tmp" / "mounted", "-t", "tmpfs", "tmpfs"):
        os.utime(write(root, path, ""), (LONG_AGO, LONG_AGO))
        assert cleaning_of(path, root=str(root)) is None
        clean(root)
        assert (root / path.lstrip("/")).exists()


def test_whether_a_lock_spares_the_file_depends_on_the_version_as_the_doctor_says(root: Path) -> None:
    file = root / "tmp" / "plain.lock"
    with locked(file):
        os.utime(file, (LONG_AGO, LONG_AGO))
        clean(root)
        told = subprocess.run(["systemd-tmpfiles", "--version"], capture_output=True, text=True).stdout
        assert file.exists() == (int(told.split()[1]) >= 254)


def test_no_configuration_deletes_nothing(tmp_path: Path) -> None:
    assert cleaning_of("/tmp/plain.lock", root=str(tmp_path)) is None


def test_a_specifier_stands_for_its_directory(tmp_path: Path) -> None:
    # With --root, systemd 252 puts the root before what a specifier stands for once more.
    write(tmp_path, "/etc/tmpfiles.d/x.conf", "q %T 1777 root root 10d\nd %S/app/100%% - - - 1d")
    for path in ("/tmp/plain.lock", "/var/lib/app/100%/plain.lock"):
        assert cleaning_of(path, root=str(tmp_path)) is not None


def test_lines_that_are_none_are_passed_over(tmp_path: Path) -> None:
    lines = [
        "d",
        '"',
        "q /tmp 1777 root root am:ten",
        "d /tmp/%q - - - 1d",
        "\udcff",
        "q /tmp - - - 1d",
    ]
    file = tmp_path / "etc" / "tmpfiles.d" / "x.conf"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\n".join(os.fsencode(line) for line in lines))
    found = cleaning_of("/tmp/plain.lock", root=str(tmp_path))
    assert found is not None
    assert found.line == "q /tmp - - - 1d"
