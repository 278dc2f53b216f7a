"""The initramfs of the machine that is booted: busybox, this Python, leaderlock, and an NFS server.

It is an archive in cpio's "newc" form, as the kernel unpacks it, and not compressed, which would cost
more under software emulation than it saves.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import re
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DEBIAN = ROOT / ".cache" / "debian"
GUEST = Path(__file__).with_name("guest")

_LIBRARY_PATHS = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
PROGRAMS = (
    "bin/busybox",
    "bin/ip",
    "sbin/rpcbind",
    "sbin/rpc.statd",
    "sbin/sm-notify",
    "usr/sbin/exportfs",
    "usr/sbin/nfsdcld",
    "usr/sbin/rpc.mountd",
)
MODULES = ("virtio_pci", "virtio_console", "virtio_blk", "veth", "nfsv3", "nfsv4", "nfsd")
# What no test imports, and what is large.
_LEFT_OUT = re.compile(
    r"(test|tests|idlelib|ensurepip|lib2to3|pydoc_data|tkinter|turtledemo|site-packages|__pycache__"
    r"|config-.*|distutils|_test.*|_ctypes_test.*|.*cjk.*|_codecs_.*|_sqlite3.*|_tkinter.*)$"
)


class Archive:
    """Files by their path in the machine."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[int, bytes]] = {}

    def add(self, name: str, content: bytes, mode: int = 0o755) -> None:
        """A regular file, with the directories above it."""
        self._put(name.strip("/"), stat.S_IFREG | mode, content)

    def add_link(self, name: str, target: str) -> None:
        """A symbolic link."""
        self._put(name.strip("/"), stat.S_IFLNK | 0o777, target.encode())

    def add_directory(self, name: str) -> None:
        """An empty directory."""
        self._put(name.strip("/"), stat.S_IFDIR | 0o755, b"")

    def _put(self, name: str, mode: int, content: bytes) -> None:
        parent = os.path.dirname(name)
        if parent and parent not in self._entries:
            self.add_directory(parent)
        self._entries[name] = (mode, content)

    def __contains__(self, name: str) -> bool:
        return name.strip("/") in self._entries

    def write(self, path: Path) -> None:
        """Write it for the kernel (Documentation/driver-api/early-userspace/buffer-format.rst)."""
        with path.open("wb") as file:
            for number, (name, (mode, content)) in enumerate(
                [*self._entries.items(), ("TRAILER!!!", (0, b""))], 1
            ):
                encoded = os.fsencode(name) + b"\0"
                fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
                head = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
                file.write(head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4))


def build(path: Path) -> None:
    """Write the whole of it to a file."""
    archive = Archive()
    for name in ("proc", "sys", "dev", "run", "tmp", "var/lib/nfs", "srv"):
        archive.add_directory(name)
    archive.add("init", (GUEST / "init").read_bytes())
    sources = [
        ROOT / "tests" / "__init__.py",
        ROOT / "tests" / "remote.py",
        GUEST.parent / "__init__.py",
    ]
    sources += [*GUEST.glob("*.py"), *(ROOT / "src" / "leaderlock").rglob("*.py")]
    for source in sources:
        archive.add(str(source.relative_to(ROOT)), source.read_bytes(), 0o644)
    for program in PROGRAMS:
        _add_program(archive, DEBIAN / program, f"bin/{os.path.basename(program)}")
    for name in ("netconfig", "protocols", "rpc", "services"):
        archive.add(f"etc/{name}", (DEBIAN / "etc" / name).read_bytes(), 0o644)
    _add_modules(archive)
    _add_python(archive)
    archive.write(path)


def kernel() -> Path:
    """The kernel's image."""
    [image] = (DEBIAN / "boot").glob("vmlinuz-*")
    return image


def _add_program(archive: Archive, program: Path, name: str) -> None:
    archive.add(name, program.read_bytes())
    _add_libraries(archive, program)


def _add_libraries(archive: Archive, program: Path) -> None:
    """Everything that the file is linked to; found there through LD_LIBRARY_PATH=/usr/lib."""
    printed = subprocess.run(
        ["ldd", program],
        capture_output=True,
        text=True,
        env={"LD_LIBRARY_PATH": ":".join(str(DEBIAN / path) for path in _LIBRARY_PATHS)},
    ).stdout
    assert "not found" not in printed, f"{program} needs a library that is missing:\n{printed}"
    for path in re.findall(r"(/\S+) \(0x", printed):
        # The loader's own path is written into each program.
        name = path if "/ld-linux" in path else f"usr/lib/{os.path.basename(path)}"
        if name not in archive:
            archive.add(name, Path(path).read_bytes())


def _add_modules(archive: Archive) -> None:
    """The kernel's modules, and the list of them in an order that they can be loaded in."""
    [directory] = (DEBIAN / "lib" / "modules").iterdir()
    files = {path.stem.replace("-", "_"): path for path in directory.rglob("*.ko")}
    order: list[str] = []
    for module in MODULES:
        _collect(module, files, order)
    for module in order:
        archive.add(f"modules/{module}.ko", files[module].read_bytes(), 0o644)
    archive.add("modules/order", "".join(f"{module}\n" for module in order).encode(), 0o644)


def _collect(module: str, files: dict[str, Path], order: list[str]) -> None:
    # depmod(8) is not needed: each module says what it needs in its section .modinfo.
    [needs] = re.findall(rb"\bdepends=([^\0]*)\0", files[module].read_bytes())
    for needed in needs.decode().split(","):
        if needed in files and needed not in order:
            _collect(needed, files, order)
    if module not in order:
        order.append(module)


def _add_python(archive: Archive) -> None:
    executable = Path(os.path.realpath(sys.executable))
    _add_program(archive, executable, "usr/bin/python3")
    library = Path(sysconfig.get_path("stdlib"))
    for directory, subdirectories, names in os.walk(library):
        subdirectories[:] = [name for name in subdirectories if not _LEFT_OUT.match(name)]
        for name in names:
            path = Path(directory, name)
            inside = f"usr/lib/{library.name}/{path.relative_to(library)}"
            if name.endswith(".py"):
                archive.add(f"{inside}c", _compiled(path), 0o644)
            elif name.endswith(".so") and not _LEFT_OUT.match(name):
                archive.add(inside, path.read_bytes())
                _add_libraries(archive, path)


def _compiled(path: Path) -> bytes:
    """A module's byte code, without its source; compiling it there would take most of the time."""
    code = marshal.dumps(compile(path.read_bytes(), path.name, "exec", dont_inherit=True))
    flags = 0b01  # of a hash, and not checked against the source (PEP 552)
    return importlib.util.MAGIC_NUMBER + flags.to_bytes(4, "little") + bytes(8) + code
