"""A store is of one platform at a time, and knows whose it was last.

Each start of a platform gives its store a session, which the platform keeps as well. A store that
has another session than its platform remembers was used by somebody else since: by a copy of the
platform's home, for example, which deleted and made what this one's record knows nothing of.

While it is used, a store in a folder is locked; one in a bucket has a beat, which stops with its
user.
"""

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from biosegment.client.errors import DomainError, FailedPreconditionError
from biosegment.runtime import log
from biosegment.storage.store import Store

_OWN = ".biosegment/"
_SESSION = _OWN + "session"
_LOCK = "lock"
BEAT_SECONDS = 10.0
"""Between two signs of life in a bucket."""
_BEATS = 2.5
ANY = "*"
_log = log.get(__name__)


class Hold:
    """This process's hold on a store."""

    def __init__(self, store: Store, session: str, known: str = ANY) -> None:
        """Takes what the store is checked against; nothing happens yet.

        Args:
            store: The store.
            session: The session of this start; a service that is restarted has the same.
            known: Sessions of the platform before this one, joined by ","; "*" for any.
        """
        self._store = store
        self._session = session
        self._known = known
        self._lock: IO[str] | None = None
        self._beat = 0

    async def take(self) -> None:
        """Makes the store this platform's, and holds it.

        Raises:
            FailedPreconditionError: Another platform uses it, or has used it since this one did.
            UnavailableError: The store cannot be reached.
        """
        self._lock = _locked(self._store)
        found = await self._read()
        self._check(found)
        if self._lock is None and found is not None and found.get("session") != self._session:
            await self._wait_for_silence(found)
        await self._write(ended=False)

    @property
    def beats(self) -> bool:
        """Whether ``keep`` must run for others to see that the store is used."""
        return self._lock is None

    async def keep(self, stopping: asyncio.Event) -> None:
        """Gives signs of life until stopping is set.

        Raises:
            FailedPreconditionError: Another platform has taken the store.
        """
        while not stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), BEAT_SECONDS)
                break
            try:
                found = await self._read()
                if found is not None and found.get("session") != self._session:
                    raise FailedPreconditionError(
                        f"{self._where} was taken by another platform ({_user(found)})."
                    )
                self._beat += 1
                await self._write(ended=False)
            except FailedPreconditionError:
                raise
            except DomainError as error:
                _log.warning("store.beat_missed", reason=error.message)

    async def release(self) -> None:
        """Lets the store go, so that the next one need not wait for silence."""
        if self._lock is not None:
            self._lock.close()
            return
        found = await self._read()
        if found is not None and found.get("session") == self._session:
            await self._write(ended=True)

    @property
    def _where(self) -> str:
        return self._store.uri("")

    def _check(self, found: dict[str, Any] | None) -> None:
        if self._known == ANY:
            return
        known = {name for name in self._known.split(",") if name}
        if found is None:
            if known:
                raise FailedPreconditionError(
                    f"{self._where} holds nothing of this platform, which has used it before. If "
                    "its disk is not mounted, mount it; if these are the arrays all the same, "
                    "start once with --take-store."
                )
        elif found.get("session") not in {*known, self._session}:
            raise FailedPreconditionError(
                f"{self._where} belongs to another platform, which used it last "
                f"({_user(found)}), such as the one that this home is a copy of. Give this one "
                "arrays of its own with another --home or --store; if the other is not used any "
                "more, start once with --take-store."
            )

    async def _wait_for_silence(self, found: dict[str, Any]) -> None:
        if found.get("ended"):
            return
        _log.info("store.listening", store=self._where, last=_user(found))
        await asyncio.sleep(_BEATS * BEAT_SECONDS)
        if await self._read() != found:
            raise _in_use(self._where, _user(found))

    async def _read(self) -> dict[str, Any] | None:
        data = await self._store.read(_SESSION)
        if data is None:
            return None
        try:
            content = json.loads(data)
        except ValueError:
            content = None
        return content if isinstance(content, dict) else {}

    async def _write(self, *, ended: bool) -> None:
        content = {
            "session": self._session,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "beat": self._beat,
            "ended": ended,
        }
        await self._store.write(_SESSION, json.dumps(content).encode())


def _user(found: dict[str, Any]) -> str:
    return f"process {found.get('process')} on {found.get('host')}, {found.get('time')}"


def _in_use(where: str, user: str) -> FailedPreconditionError:
    return FailedPreconditionError(
        f"{where} is in use by another platform ({user}). Stop that one, or give this one arrays "
        "of its own with another --home or --store."
    )


def _locked(store: Store) -> IO[str] | None:
    """The lock of a store in a folder; None where the store is none, or its disk knows no locks.

    Raises:
        FailedPreconditionError: Another process has it.
    """
    spec = store.spec(_OWN)
    if spec["driver"] != "file":
        return None
    folder = Path(spec["path"])
    folder.mkdir(exist_ok=True)
    file = (folder / _LOCK).open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        user = file.read(200).strip() or "unknown"
        file.close()
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            _log.warning("store.locks_unknown", store=store.uri(""), reason=str(error))
            return None
        raise _in_use(store.uri(""), user) from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file
