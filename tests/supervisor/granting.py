"""A supervisor under an engine that is a server at a socket: `granting.py FD LIMIT WATCH COMMAND`.

A line from the server grants a term, reports that the term is lost, or asks for its end; each line to
the server names what the supervisor does with its tenure. LIMIT is the longest wait in seconds, or
"exec" for the command to replace the supervisor. WATCH is "loop" for a watch that the supervisor's loop
reads, "thread" for one with a thread of the engine. The exit statuses are those of `leaderlock run`.
The program prints the modules of `leaderlock.lock` that it has imported by its end.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
from collections.abc import Callable

from leaderlock.cli.options import UsageError
from leaderlock.cli.run import become
from leaderlock.errors import LeadershipLost, NotHeld
from leaderlock.kernel.event import NativeEvent
from leaderlock.kernel.wait import Wait
from leaderlock.supervisor.lock_wait import Conflict, Ended
from leaderlock.supervisor.settings import Settings
from leaderlock.supervisor.supervisor import Supervisor


class Connection:
    """Lines from and to the server."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        os.set_inheritable(fd, False)
        self._received = b""

    def fileno(self) -> int:
        return self._socket.fileno()

    def say(self, line: str) -> None:
        self._socket.sendall(f"{line}\n".encode())

    def receive(self) -> bool:
        """Wait for more from the server; False if that is gone."""
        chunk = self._socket.recv(4096)
        self._received += chunk
        return bool(chunk)

    def lines(self) -> list[str]:
        """The lines that have come."""
        *lines, self._received = self._received.split(b"\n")
        return [line.decode() for line in lines]


class ServerEngine:
    session = None
    address = "granted://server/app"

    def __init__(self, connection: Connection, *, has_thread: bool) -> None:
        self._connection = connection
        self._has_thread = has_thread

    def require_usable(self) -> None:
        self._connection.say("usable?")

    def import_for_term(self) -> None:
        self._connection.say("import")

    def tenure(self) -> ServerTenure:
        return ServerTenure(self._connection, has_thread=self._has_thread)

    def is_same(self, other: object) -> bool:
        return self is other

    def is_called(self, name: str) -> bool:
        return name == self.address


class ServerRequest:
    asked = False
    how = "as the server wished"
    pause = 0.0

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def accept(self) -> None:
        self._connection.say("accept")

    def refuse(self) -> None:
        self._connection.say("refuse")


class ServerTenure:
    term = 0
    since = 0.0
    takes_over = False

    def __init__(self, connection: Connection, *, has_thread: bool) -> None:
        self._connection = connection
        self._has_thread = has_thread
        self._leads = False
        self.request = ServerRequest(connection)

    def stand(
        self, wait: Wait | None, *, limit: float | None = None, lease: float | None = None
    ) -> bool:
        assert wait is not None
        self._connection.say("stand")
        bell = os.eventfd(0)
        try:
            wait.blocking(
                lambda: select.select([self._connection.fileno(), bell], [], [], limit),
                lambda: os.eventfd_write(bell, 1),
            )
        finally:
            os.close(bell)
        if not wait.cancelled and select.select([self._connection.fileno()], [], [], 0)[0]:
            self._connection.receive()
        for line in self._connection.lines():
            self.term = int(line.removeprefix("elected "))
            self._leads = True
        return self._leads

    def check(self) -> None:
        for line in self._connection.lines():
            self._leads &= line != "lost"
            self.request.asked |= line == "resign"
        if not self._leads:
            raise LeadershipLost("the server says so")

    beat = look = check

    def watch(self, changed: Callable[[], object]) -> ServerWatch:
        watch = ThreadWatch if self._has_thread else ServerWatch
        return watch(self._connection, changed)

    def record_start(self) -> None:
        self._connection.say(f"started {self.term}")

    def record_end(self, how: str) -> None:
        self._connection.say(f"end {how}")

    def end_lease(self) -> None:
        self._connection.say("end of the lease")

    def resign(self, how: str) -> None:
        if not self._leads:
            raise NotHeld("the tenure does not lead")
        self._leads = False
        self._connection.say(f"resign, {how}")

    def finish(self) -> None:
        self._connection.say("finish")


class ServerWatch:
    has_thread = False

    def __init__(self, connection: Connection, changed: Callable[[], object]) -> None:
        self._connection = connection
        self._changed = changed

    def open(self) -> None:
        self._connection.say("watch")

    def fileno(self) -> int:
        return self._connection.fileno()

    def read(self) -> None:
        self._connection.receive()
        self._changed()

    def start(self) -> None:
        raise NotImplementedError

    def wait(self, event: NativeEvent, seconds: float | None) -> bool:
        return event.wait(seconds)

    def end(self) -> None:
        self._connection.say("end of the watch")


class ThreadWatch(ServerWatch):
    has_thread = True

    def open(self) -> None:
        super().open()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while self._connection.receive():
            self._changed()

    def fileno(self) -> int:
        return -1


def main() -> int:
    settings = Settings(sys.argv[4:])
    settings.engine = ServerEngine(Connection(int(sys.argv[1])), has_thread=sys.argv[3] == "thread")
    settings.subreaper = True
    try:
        if sys.argv[2] == "exec":
            return become(settings)
        settings.limit = None if sys.argv[2] == "inf" else float(sys.argv[2])
        status = Supervisor(settings).run()
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except Conflict:
        return 75
    except Ended as error:
        return error.status
    print("imported:", *(module for module in sys.modules if module.startswith("leaderlock.lock")))
    return status


if __name__ == "__main__":
    sys.exit(main())
