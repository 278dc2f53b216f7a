"""Places for servers and clients: network namespaces whose links can be cut, or the loopback."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

Result = TypeVar("Result")
Way = Literal["in", "out"]

_NAMESPACES = Path("/run/netns")
PREFIX = "llfleet"
_CLONE_NEWNET = 0x40000000


class Place:
    """Hosts with an address each, where servers and clients run; `close` ends and removes everything.

    Attributes:
        hosts: the address of each host.
        directory: for the servers' files; every user may enter it.
    """

    def __init__(self) -> None:
        self.hosts: dict[str, str] = {}
        remove_leftovers(Path(tempfile.gettempdir()), _remove_directory)
        self.directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-"))
        self.directory.chmod(0o755)  # the servers run as users of their own
        self._processes: list[subprocess.Popen[Any]] = []

    def add(self, host: str) -> str:
        """Make a host, if there is none of that name; return its address."""
        raise NotImplementedError

    def inside(self, host: str, function: Callable[[], Result]) -> Result:
        """Call a function on a host: the sockets that it makes belong to the host's network."""
        raise NotImplementedError

    def prefix(self, host: str) -> list[str]:
        """The beginning of a command line that runs on a host."""
        raise NotImplementedError

    def start(
        self, host: str, command: Sequence[str | Path], *, user: str | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """Run a command on a host; the PID is the command's own.

        The kernel kills the process if the tests die. The other options are those of `Popen`.
        """
        changes = ["setpriv", "--pdeathsig=KILL"]
        if user is not None and os.geteuid() == 0:
            changes += [f"--reuid={user}", f"--regid={user}", "--init-groups"]
        process = subprocess.Popen(
            [*self.prefix(host), *changes, *command], start_new_session=True, **options
        )
        self._processes.append(process)
        return process

    def connect(self, host: str, port: int, *, origin: str, timeout: float = 2.0) -> socket.socket:
        """A TCP connection from one host to another one, or to itself."""
        address = (self.add(host), port)
        return self.inside(origin, lambda: socket.create_connection(address, timeout))

    def close(self) -> None:
        """Kill the processes that were started here, and remove the files."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        _remove_directory(self.directory)

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Loopback(Place):
    """This host itself; each of the hosts is an address of the network 127.0.0.0/8.

    So servers keep their usual ports, and processes of different tests do not meet.
    """

    _numbers = itertools.count(2)

    def add(self, host: str) -> str:
        """See `Place.add`."""
        if host not in self.hosts:
            pid = os.getpid()
            self.hosts[host] = f"127.{pid >> 8 & 0xFF}.{pid & 0xFF}.{next(self._numbers)}"
        return self.hosts[host]

    def inside(self, host: str, function: Callable[[], Result]) -> Result:
        """See `Place.inside`."""
        return function()

    def prefix(self, host: str) -> list[str]:
        """See `Place.prefix`."""
        return []

    def __enter__(self) -> Loopback:
        return self


class Network(Place):
    """Hosts in network namespaces of their own, and cables from each to a switch.

    The switch is a bridge in a further namespace, so the network of this machine is not touched, and
    every `Network` may use the same addresses.
    """

    _numbers = itertools.count()

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise PermissionError("the network of a fleet needs root, for network namespaces")
        remove_leftovers(_NAMESPACES, lambda path: _remove(path.name))
        super().__init__()
        self._name = f"{PREFIX}-{os.getpid()}-{next(self._numbers)}"
        self._switch = f"{self._name}-switch"
        _ip("netns", "add", self._switch)
        try:
            _ip("-n", self._switch, "link", "add", "name", "bridge", "type", "bridge")
            _ip("-n", self._switch, "link", "set", "dev", "bridge", "up")
        except BaseException:
            self.close()
            raise

    def namespace(self, host: str) -> str:
        """The name of a host's namespace, for ip-netns(8)."""
        return f"{self._name}-{host}"

    def add(self, host: str) -> str:
        """See `Place.add`."""
        if host in self.hosts:
            return self.hosts[host]
        space, port, address = self.namespace(host), _port(host), f"10.99.0.{len(self.hosts) + 2}"
        _ip("netns", "add", space)
        self.hosts[host] = address
        peer = ("peer", "name", "eth0", "netns", space)
        _ip("-n", self._switch, "link", "add", port, "type", "veth", *peer)
        _ip("-n", self._switch, "link", "set", port, "master", "bridge", "up")
        _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", space, "link", "set", "eth0", "up")
        return address

    def prefix(self, host: str) -> list[str]:
        """See `Place.prefix`."""
        self.add(host)
        return ["nsenter", f"--net={_NAMESPACES / self.namespace(host)}"]

    def inside(self, host: str, function: Callable[[], Result]) -> Result:
        """See `Place.inside`; a thread enters the namespace for the call."""
        self.add(host)
        results: list[Result] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                _enter(self.namespace(host))
                results.append(function())
            except BaseException as error:  # noqa: BLE001  (raised by the caller's thread)
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def cut(self, host: str) -> None:
        """Pull a host's cable out of the switch."""
        _ip("-n", self._switch, "link", "set", _port(host), "down")

    def drop(self, host: str) -> None:
        """Let a firewall drop everything from and to a host, without a word."""
        self.one_way(host, "in")
        self.one_way(host, "out")

    def one_way(self, host: str, lost: Way) -> None:
        """Lose what comes ``"in"`` (the host hears nothing), or goes ``"out"`` (nobody hears it)."""
        self._block(host, lost)

    def part(self, host: str, *others: str) -> None:
        """Part a host from some others; it reaches the rest."""
        for other in others:
            self._block(host, "in", "-s", self.hosts[other])
            self._block(host, "out", "-d", self.hosts[other])

    def _block(self, host: str, lost: Way, *match: str) -> None:
        # Traffic of a host with itself goes through `lo`, also to its own address: that goes on.
        chain, option = ("INPUT", "-i") if lost == "in" else ("OUTPUT", "-o")
        self._iptables(host, "-I", chain, "!", option, "lo", *match, "-j", "DROP")

    def heal(self, *hosts: str) -> None:
        """Undo `cut`, `drop`, `one_way` and `part` for some hosts; for all, if none is named."""
        for host in hosts or self.hosts:
            self._iptables(host, "-F")
            _ip("-n", self._switch, "link", "set", _port(host), "up")

    def _iptables(self, host: str, *arguments: str) -> None:
        _run(*self.prefix(host), "iptables", "-w", *arguments)

    def close(self) -> None:
        """See `Place.close`; also ends whatever else runs in the namespaces."""
        try:
            super().close()
        finally:
            for space in [*map(self.namespace, self.hosts), self._switch]:
                _remove(space)

    def __enter__(self) -> Network:
        return self


def _port(host: str) -> str:
    """The name of a host's port of the switch; at most 15 characters."""
    return f"v-{host}"


def _enter(space: str) -> None:
    """Put this thread into a namespace, for good (setns(2))."""
    fd = os.open(_NAMESPACES / space, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), space)
    finally:
        os.close(fd)


def namespaces_of(pid: int) -> list[str]:
    """The namespaces that the networks of a process have made, and not removed."""
    return [path.name for path in _NAMESPACES.glob(f"{PREFIX}-{pid}-*")]


def remove_leftovers(place: Path, remove: Callable[[Path], object]) -> None:
    """Remove what tests that were killed have left in a directory: names with a PID that has ended."""
    for path in place.glob(f"{PREFIX}-*-*"):
        if not Path(f"/proc/{path.name.split('-')[1]}").exists():
            with contextlib.suppress(FileNotFoundError):  # another test was faster
                remove(path)


def _remove_directory(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)  # another user's, or one that a server still writes to


def _remove(space: str) -> None:
    """Kill the processes of a namespace, and remove it; nothing happens without one."""
    found = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True)
    if found.returncode:
        return
    for pid in found.stdout.split():
        try:
            os.kill(int(pid), 9)
        except ProcessLookupError:
            continue
    subprocess.run(["ip", "netns", "del", space], capture_output=True)


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)}: {run.stderr.strip()}")
