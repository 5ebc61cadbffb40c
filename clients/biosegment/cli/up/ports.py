"""Free loopback ports, and whether somebody listens on one."""

import random
import socket
from pathlib import Path

from biosegment.client.errors import ResourceExhaustedError

_LOWEST = 20_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def _ephemeral_start() -> int:
    try:
        return int(_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768


def free_ports(count: int) -> list[int]:
    """Free ports on 127.0.0.1, all different.

    They lie below the range that the kernel gives to outgoing connections: a port out of that
    range could be taken while its service restarts, even by a client that reconnects to it.

    Raises:
        ResourceExhaustedError: There are not enough.
    """
    found: list[int] = []
    last = max(_ephemeral_start(), _LOWEST + 2 * count)
    for port in random.sample(range(_LOWEST, last), last - _LOWEST):
        if len(found) == count:
            break
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    if len(found) < count:
        raise ResourceExhaustedError(f"Fewer than {count} ports of 127.0.0.1 are free.")
    return found


def listening(host: str, port: int) -> bool:
    """Whether a connection to the port is accepted."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False
