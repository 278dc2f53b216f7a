"""The machine's parts: an NFS server, and clients in network namespaces of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

EXPORTED = "/srv"
LEASE = 10
"""Seconds, the shortest that nfsd takes."""

_clients: dict[str, subprocess.Popen[bytes]] = {}
# statd, which version 3 cannot lock without, keeps the names of those it watches in sm.
_RPC_DAEMONS = ("mkdir -p /var/lib/nfs/sm /var/lib/nfs/sm.bak", "rpcbind", "rpc.statd --no-notify")


def run(*command: str) -> str:
    """What a command prints; an error with all of it if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}")
    return done.stdout


def until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.01)


def write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def start_server() -> None:
    run("ip", "link", "set", "lo", "up")
    run("mount", "-t", "ext4", "/dev/vda", EXPORTED)
    run("mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd")
    # nfsdcld remembers the clients of version 4 over a restart: without any, as now, there is no grace
    # period. Version 3 always has one.
    os.makedirs("/var/lib/nfs/rpc_pipefs")
    os.makedirs("/var/lib/nfs/nfsdcld")
    run("mount", "-t", "rpc_pipefs", "rpc_pipefs", "/var/lib/nfs/rpc_pipefs")
    run("nfsdcld")
    write("/proc/fs/nfsd/nfsv4leasetime", str(LEASE))
    write("/proc/fs/nfsd/nfsv4gracetime", str(LEASE))
    write("/proc/sys/fs/nfs/nlm_timeout", "3")
    write("/proc/sys/fs/nfs/nlm_grace_period", "3")
    _start_rpc_daemons()
    write("/var/lib/nfs/etab", "")
    write("/var/lib/nfs/rmtab", "")
    # fsid=0: version 4 sees the exported directory as its root.
    run("exportfs", "-i", "-o", "rw,no_root_squash,insecure,no_subtree_check,fsid=0", f"*:{EXPORTED}")
    run("rpc.mountd")
    set_server(True)
    write("/proc/sys/fs/nfs/nlm_grace_period", "9")  # for restarts, when there is something to get back


def set_server(running: bool) -> None:
    """Start or stop it: a stop forgets every lock, and a start begins with the grace period."""
    write("/proc/fs/nfsd/threads", "4" if running else "0")


def _start_rpc_daemons() -> None:
    for command in _RPC_DAEMONS:
        run(*command.split())


def restart_server(seconds: float) -> None:
    """Stop it for so long and start it again, with its statd, as a boot does."""
    set_server(False)
    os.kill(int(read("/run/rpc.statd.pid")), signal.SIGTERM)
    time.sleep(seconds)
    # A client that found nobody tries again after 3, 6 and 12 s, and must not miss it.
    write("/proc/fs/nfsd/nfsv4gracetime", str(round(LEASE + 2 * seconds)))
    run("rpc.statd", "--no-notify")
    set_server(True)
    # The clients of version 3 have to be told, and ask for their locks again.
    run("sm-notify", "-f")


def add_client(name: str, number: int) -> None:
    """A client with its own network, host name and lock daemon: another machine, as NFS sees it."""
    script = f"hostname {name} && mount -t tmpfs run /run && mount -t tmpfs nfs /var/lib/nfs"
    client = subprocess.Popen(
        ["unshare", "-n", "-u", "-m", "sh", "-c", f"{script} && echo ready && exec sleep 100000"],
        stdout=subprocess.PIPE,
    )
    assert client.stdout is not None
    assert client.stdout.readline() == b"ready\n"
    _clients[name] = client
    run(
        "ip",
        "link",
        "add",
        f"to-{name}",
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        str(client.pid),
    )
    run("ip", "address", "add", f"10.0.{number}.1/24", "dev", f"to-{name}")
    run("ip", "link", "set", f"to-{name}", "up")
    for command in (
        f"ip address add 10.0.{number}.2/24 dev eth0",
        "ip link set lo up",
        "ip link set eth0 up",
        *_RPC_DAEMONS,
    ):
        run(*inside(name), *command.split())


def inside(place: str) -> list[str]:
    """What to put before a command to run it in a client."""
    if place == "server":
        return []
    return ["nsenter", "-t", str(_clients[place].pid), "-n", "-u", "-m", "--"]


def mount(place: str, options: str) -> str:
    """Mount the export in a client; returns where."""
    number = list(_clients).index(place) + 1
    target = f"/tmp/{place}-{options.replace('=', '').replace(',', '-')}"
    os.makedirs(target, exist_ok=True)
    source = f"10.0.{number}.1:{EXPORTED if 'vers=3' in options else '/'}"
    options += f",hard,addr=10.0.{number}.1,clientaddr=10.0.{number}.2"
    run(*inside(place), "mount", "-i", "-t", "nfs", "-o", options, source, target)
    return target


def set_link(place: str, up: bool) -> None:
    """Cut a client off from the server, or connect it again."""
    run("ip", "link", "set", f"to-{place}", "up" if up else "down")
