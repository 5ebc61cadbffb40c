"""What a home knows of its arrays: where they lie, and that nobody else has used them since."""

import os
import uuid
from pathlib import Path

from biosegment.client.errors import FailedPreconditionError

_MOST_SESSIONS = 20


class StoreNote:
    """The notes of a home on its store.

    Arrays within the home are noted relative to it, so that a home that is moved, copied or
    restored works on its own. Arrays elsewhere are of one home only. Each start gives them a
    random name, the session, which both sides keep: a store whose session the home does not know
    has been used by another platform since.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._place = home / "store-place"
        self._sessions = home / "store-sessions"

    @property
    def within(self) -> Path:
        """Where arrays lie in the home; the storage service makes it."""
        return self._home / "store"

    def place(self, given: str | None, *, take: bool = False) -> str:
        """Where the arrays lie: as given, else as the last time, else in the home.

        Args:
            given: A folder or an address; None or empty where nothing was said.
            take: The arrays are at the given place from now on, whatever was noted.

        Raises:
            FailedPreconditionError: The record of this home belongs to arrays elsewhere, or it
                cannot be told which arrays are this home's.
        """
        before, other = self._noted(), ""
        own = str(self.within) if self.within.is_dir() else ""
        elsewhere = bool(before) and "://" not in before and not self._is_within(before)
        if own and elsewhere and not _same(before, own):
            # Homes of earlier releases note arrays within by the full path, also in a copy.
            before, other = (before, own) if Path(before).is_dir() else (own, "")
        before = before or own
        if not given:
            if other:
                raise FailedPreconditionError(
                    f"{self._home} seems to be a copy: it notes that its arrays are in {before}, "
                    f"and there are arrays in {other} as well. Say which are its own with "
                    f"--store {other} or --store {before}.",
                    path=self._home,
                )
            return before or str(self.within)
        place = given.rstrip("/") if "://" in given else str(Path(given).expanduser().absolute())
        if before and not take and not any(_same(place, known) for known in (before, other)):
            raise FailedPreconditionError(
                f"The record in {self._home} is about arrays in {before}, not in {place}. Leave "
                "--store out, choose another --home, or, if the arrays were moved there, add "
                "--take-store.",
                path=self._home,
            )
        return place

    def keep_place(self, place: str) -> None:
        """Notes where the arrays lie, once it is known that they can."""
        noted = place
        if "://" not in place and Path(place).is_relative_to(self._home):
            noted = os.path.relpath(place, self._home)
        elif self._is_within(place):
            noted = os.path.relpath(os.path.realpath(place), os.path.realpath(self._home))
        self._place.write_text(noted + "\n")

    def begin_session(self, place: str, *, take: bool = False) -> tuple[str, str]:
        """The session of a start, and the sessions that the store may have, joined by ",".

        Both are noted before the store learns of the new one, which it may or may not do.

        Args:
            place: Where the arrays lie.
            take: Whatever session the store has, it is this home's.
        """
        session = str(uuid.uuid4())
        if self._is_within(place):
            # A home's own arrays are its own, whoever had them before the home was copied.
            return session, "*"
        known = self._sessions.read_text().split() if self._sessions.exists() else []
        self._sessions.write_text("\n".join([*known[-_MOST_SESSIONS:], session, ""]))
        return session, "*" if take else ",".join(known)

    def keep_session(self, place: str, session: str) -> None:
        """Notes the one session that the store has now."""
        if self._is_within(place):
            self._sessions.unlink(missing_ok=True)
        else:
            self._sessions.write_text(session + "\n")

    def _noted(self) -> str:
        noted = self._place.read_text().strip() if self._place.exists() else ""
        return noted if not noted or "://" in noted else str(self._home / noted)

    def _is_within(self, place: str) -> bool:
        if "://" in place:
            return False
        return Path(os.path.realpath(place)).is_relative_to(os.path.realpath(self._home))


def _same(one: str, other: str) -> bool:
    return one == other or (
        "://" not in one + other
        and bool(other)
        and os.path.realpath(one) == os.path.realpath(other)
    )
