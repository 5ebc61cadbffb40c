"""Proof that whoever asks for an import could read the file himself.

Beside the connection file of a platform lies a key that only its owner can read. Who can read it is
the user as whom the platform reads files, on the machine where it does: what he names on his own
command line is his to import, wherever it lies. Who merely has the token is not: a token travels.
docs/decisions/0011-own-files-need-no-root.md
"""

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

_BYTES = 32
_PURPOSE = b"biosegment import 1"


def key_path(connection: Path) -> Path:
    """Where the key of the platform with that connection file lies."""
    return connection.with_name("import-key")


def make_key(connection: Path) -> bytes | None:
    """The platform's key, made where there is none; None where it can be neither read nor made."""
    path = key_path(connection)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(_BYTES))
            os.link(draft, path)  # Whole or not at all; never over another one.
        finally:
            draft.unlink()
    except OSError:
        pass
    return read_key(connection)


def read_key(connection: Path) -> bytes | None:
    """The platform's key; None unless it is there and nobody else can have read or written it."""
    try:
        handle = os.open(key_path(connection), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            private = status.st_uid == os.geteuid() and not status.st_mode & 0o077
            key = file.read(_BYTES + 1) if stat.S_ISREG(status.st_mode) and private else b""
    except OSError:
        return None
    return key if len(key) == _BYTES else None


def grant(key: bytes, real: Path, volume: str) -> str:
    """Allows the import of a file or folder as a volume.

    Args:
        key: The platform's.
        real: The path with every link followed.
        volume: projects/p/volumes/v
    """
    message = b"\0".join((_PURPOSE, os.fsencode(real), volume.encode()))
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def is_granted(key: bytes | None, real: Path, volume: str, given: str) -> bool:
    """Whether a grant is one for this path and volume."""
    if key is None or not given.isascii():
        return False
    return hmac.compare_digest(grant(key, real, volume), given)
