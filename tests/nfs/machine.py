"""A machine with a kernel of its own, booted by qemu, with an NFS server and two clients inside."""

from __future__ import annotations

import ast
import os
import queue
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

from tests.nfs import initramfs
from tests.processes import PATIENCE, ChildError, until

QEMU = "qemu-system-x86_64"
REMOTE = ("python3", "/tests/remote.py")


def why_not() -> str | None:
    """Why it cannot be booted here, or None if it can."""
    if os.uname().machine != "x86_64":
        return "the kernel to boot is for x86_64"
    if shutil.which(QEMU) is None:
        return f"{QEMU} is not installed"
    if not (initramfs.DEBIAN / ".packages").exists():
        return "the kernel to boot has not been downloaded (`make packages` does, on Debian)"
    return None


class Process:
    """A process in the machine, which evaluates what it is told; as `tests.processes.Child`."""

    def __init__(self, machine: Machine, name: str, pid: int = 0) -> None:
        self._machine = machine
        self._name = name
        self.pid = pid
        self._ended = False
        self.lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def begin(self, source: str) -> None:
        """Tell it something that takes time; `answer` gets the result."""
        self._machine.send(self._name, repr(source) if self._name else source)

    def answer(self, timeout: float = PATIENCE) -> Any:
        """The result of what it was told first; raises what that raised, as a `ChildError`."""
        reply = ast.literal_eval(self.line(timeout))
        if reply[0] == "error":
            raise ChildError(*reply[1:])
        return reply[1]

    def tell(self, source: str) -> Any:
        """Tell it something and wait for the result."""
        self.begin(source)
        return self.answer()

    def line(self, timeout: float = PATIENCE) -> str:
        """The next line that it prints."""
        try:
            line = self.lines.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(
                f"{self._name} said nothing for {timeout} s\n{self._machine.log()}"
            ) from None
        if line is None:
            self._ended = True
            raise EOFError(f"{self._name} has ended\n{self._machine.log()}")
        return line

    def is_silent(self, seconds: float) -> bool:
        """Whether it says nothing for so long."""
        try:
            line = self.lines.get(timeout=seconds)
        except queue.Empty:
            return True
        raise AssertionError(f"{self._name} said {line!r}")

    def kill(self) -> None:
        """SIGKILL, and wait until it has gone."""
        if not self._ended:
            self._machine.tell(f"kill({self._name!r})")
            while self.lines.get(timeout=PATIENCE) is not None:
                pass
            self._ended = True


class Machine:
    """Boots with the `with` statement, and is switched off at its end, whatever happens inside."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._log = directory / "console.log"
        self._agent = Process(self, "")
        self._processes = {"": self._agent}

    def __enter__(self) -> Machine:
        initrd, disk = self._directory / "initrd", self._directory / "disk"
        initramfs.build(initrd)
        with disk.open("wb") as file:
            file.truncate(16 << 20)
        subprocess.run(["/sbin/mke2fs", "-q", "-t", "ext4", disk], check=True, env={})
        self._qemu = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL"),  # whatever ends pytest ends it, too
                *(QEMU, "-nodefaults", "-no-reboot", "-display", "none", "-m", "512"),
                *("-kernel", initramfs.kernel(), "-initrd", initrd),
                *("-append", "console=ttyS0 panic=-1 quiet", "-serial", f"file:{self._log}"),
                *("-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"),
                *("-chardev", "stdio,id=agent,signal=off", "-device", "virtio-serial-pci"),
                *("-device", "virtserialport,chardev=agent"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        try:
            assert self._agent.line(2 * PATIENCE) == "ready"
            self.tell("start_server()")
            for number, name in enumerate(("a", "b"), 1):
                self.tell(f"add_client({name!r}, {number})")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._qemu.kill()
        self._qemu.wait()
        self._reader.join()
        for pipe in (self._qemu.stdin, self._qemu.stdout):
            if pipe is not None:
                pipe.close()

    def tell(self, source: str) -> Any:
        """Have the agent evaluate something, with the functions of guest/world.py."""
        return self._agent.tell(source)

    def start(self, place: str, *command: str) -> Process:
        """A process in the server or a client."""
        name = f"{place}{len(self._processes)}"
        process = self._processes[name] = Process(self, name)
        process.pid = self.tell(f"start({name!r}, {place!r}, *{command or REMOTE!r})")
        return process

    def until_it_waits(self, process: Process) -> None:
        """Wait until a process sleeps in the kernel's code for locks."""
        stack = f"read('/proc/{process.pid}/stack')"
        until(lambda: "lock" in self.tell(stack), f"process {process.pid} to wait for the lock")

    def end_processes(self) -> None:
        """Kill all that was started."""
        for process in [p for p in self._processes.values() if p is not self._agent]:
            process.kill()

    def send(self, name: str, line: str) -> None:
        assert self._qemu.stdin is not None
        self._qemu.stdin.write(f"{(name, line)!r}\n".encode())
        self._qemu.stdin.flush()

    def log(self) -> str:
        """What the kernel and the machine's programs have said."""
        return self._log.read_text(errors="replace")

    def _read(self) -> None:
        assert self._qemu.stdout is not None
        for message in self._qemu.stdout:
            name, line = ast.literal_eval(message.decode())
            self._processes[name].lines.put(line)
        for process in self._processes.values():
            process.lines.put(None)
