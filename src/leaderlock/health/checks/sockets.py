"""The accept queues of the listening sockets that this process holds or has inherited.

These queues hold connections that the kernel has accepted and no worker has accepted yet. If a server
cannot keep up, they grow first. Linux reports them for TCP by TCP_INFO (tcp(7)), for Unix sockets by
sock_diag(7).
"""

from __future__ import annotations

import _socket  # not `socket`: gevent patches its class
import os
import struct

from leaderlock.health.checks.check import Check, CheckResult, check, linux_only, rising_shares
from leaderlock.kernel.arguments import names_near_keyword

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TCP_INFO_BYTES = 32
_UNACKED_SACKED = struct.Struct("=24xII")  # for a listener: the queue's length and limit

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_UDIAG_SHOW_RQLEN = 0x10
_UNIX_DIAG_RQLEN = 4
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_REQUEST = struct.Struct("=BBHIIIII")  # struct unix_diag_req
_ANSWER_BYTES = 16  # struct unix_diag_msg
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr
_ANY_COOKIE = 0xFFFFFFFF
_ANY_STATE = 0xFFFFFFFF


@names_near_keyword
def listen_queue(
    *,
    degraded: float = 0.5,
    name: str | None = None,
    timeout: float | None = None,
    critical: bool = False,
) -> Check[CheckResult]:
    """A check of the connections that wait to be accepted, at each listening socket of this process.

    These are the sockets that a server bound before the fork and this worker inherited. Sockets that
    only another process holds are not seen. The value: `waiting` (the sum) and `listeners`, for each
    its `address`, the number of `waiting` connections, the `limit` (the argument of listen(2), at most
    net.core.somaxconn) and the `used` share of the limit. The check fails while a queue is full: then
    the next clients wait for a retransmission (TCP), or are refused or blocked (Unix).

    Args:
        degraded: the check is degraded from this share of the limit on.
        name, timeout, critical: the same as in `checks.check`; the default name is ``listen_queue``.

    Raises:
        Unsupported: this is not Linux.
        ValueError: an argument is invalid.
    """
    linux_only("listen_queue")
    rising_shares(degraded=degraded)

    def listen_queue() -> CheckResult:
        listeners = sorted(_listeners(), key=lambda listener: str(listener["address"]))
        value = {"waiting": sum(each["waiting"] or 0 for each in listeners), "listeners": listeners}
        shares = [(each["used"], each) for each in listeners if each["used"] is not None]
        used, worst = max(shares, key=lambda pair: pair[0], default=(0, None))
        if worst is None or used < degraded:
            return CheckResult(value)
        error = f"{worst['waiting']} of {worst['limit']} connections wait at {worst['address']}"
        return CheckResult(value, "failing" if used >= 1 else "degraded", error)

    return check(listen_queue, name=name, timeout=timeout, critical=critical)


def _listeners() -> list[dict[str, Any]]:
    found = {}
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
            if target.startswith("socket:[") and target not in found:
                listener = _listener(int(entry), int(target[8:-1]))
                if listener is not None:
                    found[target] = listener
        except OSError:  # ENOENT, EBADF, ENOTSOCK: closed, or now another file
            continue
    return list(found.values())


def _listener(fd: int, inode: int) -> dict[str, Any] | None:
    # SOCK_NONBLOCK keeps Python from changing the mode of the descriptor, which belongs to the server.
    # The object only serves getsockopt(2): after detach() it closes nothing.
    sock = _socket.socket(-1, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK, -1, fd)
    try:
        if not sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
            return None
        address = sock.getsockname()
        if sock.family == _socket.AF_UNIX:
            waiting, limit = _unix_queue(inode)
        elif sock.family in (_socket.AF_INET, _socket.AF_INET6):
            waiting, limit = _tcp_queue(sock)
        else:
            return None
    finally:
        sock.detach()
    return {
        "address": _text(address),
        "waiting": waiting,
        "limit": limit,
        "used": None if waiting is None or limit is None else round(waiting / max(limit, 1), 4),
    }


def _tcp_queue(sock: _socket.socket) -> tuple[int | None, int | None]:
    try:
        info = sock.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:  # ENOPROTOOPT, EOPNOTSUPP: neither TCP nor SCTP reports it
        return None, None
    waiting, limit = _UNACKED_SACKED.unpack(info)
    return waiting, limit


def _unix_queue(inode: int) -> tuple[int | None, int | None]:
    """Length and limit; None for a socket of another network namespace, or without unix_diag."""
    request = _REQUEST.pack(
        _socket.AF_UNIX, 0, 0, _ANY_STATE, inode, _UDIAG_SHOW_RQLEN, _ANY_COOKIE, _ANY_COOKIE
    )
    header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    kind = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC
    try:
        netlink = _socket.socket(_socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG)
    except OSError:  # EPROTONOSUPPORT: no sock_diag in this kernel; EAFNOSUPPORT: a seccomp filter
        return None, None
    try:
        netlink.send(header + request)
        answer = netlink.recv(4096)  # the kernel has already answered, within send(2)
    finally:
        netlink.close()
    length, message, *_ = _HEADER.unpack_from(answer)
    if message == _NLMSG_ERROR:  # ENOENT
        return None, None
    at = _HEADER.size + _ANSWER_BYTES
    while at + _ATTRIBUTE.size <= length:
        size, attribute = _ATTRIBUTE.unpack_from(answer, at)
        if attribute == _UNIX_DIAG_RQLEN:
            waiting, limit = struct.unpack_from("=II", answer, at + _ATTRIBUTE.size)
            return waiting, limit
        at += (max(size, _ATTRIBUTE.size) + 3) & ~3
    return None, None


def _text(address: object) -> str:
    """An address in the usual notation."""
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    path = os.fsdecode(address) if isinstance(address, bytes) else str(address)
    return "@" + path[1:] if path.startswith("\0") else path
