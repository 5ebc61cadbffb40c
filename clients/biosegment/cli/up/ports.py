"""Free loopback ports, and whether somebody listens on one."""

import json
import random
import socket
from collections.abc import Sequence
from pathlib import Path

from biosegment.client.errors import ResourceExhaustedError

_LOWEST = 20_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def _ephemeral_start() -> int:
    try:
        return int(_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: connections of the last time that linger do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


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
        if _is_free(port):
            found.append(port)
    if len(found) < count:
        raise ResourceExhaustedError(f"Fewer than {count} ports of 127.0.0.1 are free.")
    return found


def kept_ports(note: Path, names: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """A port for each name: the one of the last time, so that who lives on finds it again.

    Args:
        note: Where the ports are noted; written anew. A note that came from another folder, with
            a copied home, does not count: those ports are its own platform's.
        names: Whom the ports are for.

    Returns:
        The ports by name, and the names whose port of the last time was taken.

    Raises:
        ResourceExhaustedError: There are not enough.
    """
    before = _noted(note)
    ports = {name: before[name] for name in names if name in before and _is_free(before[name])}
    lost = [name for name in names if name in before and name not in ports]
    wanting = [name for name in names if name not in ports]
    fresh = [port for port in free_ports(len(names)) if port not in ports.values()]
    ports |= dict(zip(wanting, fresh, strict=False))
    note.write_text(json.dumps({"folder": str(note.parent), "ports": ports}, indent=2))
    return ports, lost


def _noted(note: Path) -> dict[str, int]:
    try:
        content = json.loads(note.read_text())
        if content["folder"] != str(note.parent):
            return {}
        ports = {str(name): int(port) for name, port in content["ports"].items()}
        usable = all(0 < port < 1 << 16 for port in ports.values())
        return ports if usable and len(set(ports.values())) == len(ports) else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Damaged or not there: nothing is lost with it.
        return {}


def listening(host: str, port: int) -> bool:
    """Whether a connection to the port is accepted."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False
