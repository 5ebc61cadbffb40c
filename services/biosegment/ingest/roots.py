"""Paths from requests, held inside the folders that the administrator allowed."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from biosegment.client.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    PathNotAllowedError,
)

_MAX_SHOWN = 200


def taken(path: str) -> AlreadyExistsError:
    """The error that something is where an export was to be."""
    return AlreadyExistsError(
        f"{path} exists already; exports never overwrite. Choose another name.", path=path
    )


class Roots:
    """The allowed folders of one purpose. Symbolic links are followed before comparing.

    Everything here asks the file system, which may never answer: for child processes, not for the
    threads of a service.
    """

    def __init__(self, folders: Iterable[Path], purpose: str, *, own: Iterable[Path] = ()) -> None:
        """Takes the folders.

        Args:
            folders: Those allowed, and whatever lies in them.
            purpose: "import" or "export", for messages.
            own: Folders of the platform itself, which are never allowed.
        """
        self._folders = [Path(os.path.realpath(folder)) for folder in folders]
        self._own = [Path(os.path.realpath(folder)) for folder in own]
        self._purpose = purpose

    def existing(self, path: str, granted: Callable[[Path], bool] = lambda _real: False) -> Path:
        """The real path of something to read.

        Args:
            path: From the request.
            granted: Whether a real path outside the roots is allowed all the same.

        Raises:
            InvalidArgumentError: It is not absolute, or there is nothing.
            PathNotAllowedError: It lies outside the roots, or in a folder of the platform.
        """
        real = self.inside(path, granted)
        try:
            real.lstat()
        except OSError as error:
            if isinstance(error, FileNotFoundError | NotADirectoryError):
                raise InvalidArgumentError(
                    f"There is no file or folder {_shown(path)}.", path=_shown(path)
                ) from None
            raise InvalidArgumentError(
                f"{_shown(path)} cannot be looked at: {error.strerror}.", path=_shown(path)
            ) from None
        return real

    def with_root(self, real: Path) -> "Roots":
        """The same with one more folder, or file, that may be read."""
        more = Roots((), self._purpose)
        more._folders, more._own = [*self._folders, real], self._own
        return more

    def new(self, path: str) -> Path:
        """The real path of something to write.

        Raises:
            InvalidArgumentError: It is not absolute, or its folder does not exist.
            PathNotAllowedError: It lies outside the roots, or in a folder of the platform.
            AlreadyExistsError: Something is there.
        """
        real = self.inside(path)
        try:
            if os.path.lexists(path) or real.exists():
                raise taken(path)
            parent = real.parent.is_dir()
        except OSError as error:
            raise InvalidArgumentError(
                f"{_shown(path)} cannot be written: {error.strerror}.", path=_shown(path)
            ) from None
        if not parent:
            raise InvalidArgumentError(
                f"The folder {real.parent} does not exist; make it first.", path=path
            )
        return real

    def inside(self, path: str, granted: Callable[[Path], bool] = lambda _real: False) -> Path:
        """The real path of something, there or not.

        Raises:
            InvalidArgumentError: It is not absolute.
            PathNotAllowedError: It lies outside the roots, or in a folder of the platform.
        """
        if "\0" in path or not Path(path).is_absolute():
            raise InvalidArgumentError(
                f'"{_shown(path)}" is not an absolute path on the machine of the ingest service.',
                path=_shown(path),
            )
        real = Path(os.path.realpath(path))
        for folder in self._own:
            if real.is_relative_to(folder):
                raise PathNotAllowedError(
                    f"{_shown(path)} lies in {folder}, which belongs to the platform itself; no "
                    f"{self._purpose} reads or writes there. Choose another folder.",
                    path=_shown(path),
                )
        if not any(real.is_relative_to(folder) for folder in self._folders) and not granted(real):
            raise self._outside(path)
        return real

    def _outside(self, path: str) -> PathNotAllowedError:
        allowed = ", ".join(str(folder) for folder in self._folders) or "none"
        does = "read from" if self._purpose == "import" else "write to"
        return PathNotAllowedError(
            f"{_shown(path)} is in none of the folders that {self._purpose}s may {does} "
            f"({allowed}). Allow its folder with `biosegment up --{self._purpose}-root FOLDER`, "
            f"or, for services started otherwise, BIOSEGMENT_{self._purpose.upper()}_ROOTS.",
            path=_shown(path),
        )


def _shown(path: str) -> str:
    return path if len(path) <= _MAX_SHOWN else path[:_MAX_SHOWN] + "…"
