"""The host names that may be used for this machine, as a protection from DNS rebinding."""

from __future__ import annotations

import ipaddress


def name_in(host: str) -> str:
    """The name or address in a Host header, without the port, in lower case."""
    name = host.strip().lower()
    if name.startswith("["):  # an IPv6 address
        return name[1:].partition("]")[0]
    return name.partition(":")[0].removesuffix(".")


def is_loopback(name: str) -> bool:
    """Whether a name or an address can only mean this machine."""
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761: never in the DNS
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
