"""Paths from requests, held inside the folders that the administrator allowed."""

import os
from collections.abc import Iterable
from pathlib import Path

from biosegment.client.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    PathNotAllowedError,
)


def taken(path: str) -> AlreadyExistsError:
    """The error that something is where an export was to be."""
    return AlreadyExistsError(
        f"{path} exists already; exports never overwrite. Choose another name.", path=path
    )


class Roots:
    """The allowed folders of one purpose. Symbolic links are followed before comparing."""

    def __init__(self, folders: Iterable[Path], setting: str) -> None:
        """Takes the folders and the name of the setting that lists them, for messages."""
        self._folders = [Path(os.path.realpath(folder)) for folder in folders]
        self._setting = setting

    def existing(self, path: str) -> Path:
        """The real path of something to read.

        Raises:
            InvalidArgumentError: It is not absolute, or there is nothing.
            PathNotAllowedError: It lies outside the roots.
        """
        real = self.inside(path)
        if not real.exists():
            raise InvalidArgumentError(f"There is no file or folder {path}.", path=path)
        return real

    def new(self, path: str) -> Path:
        """The real path of something to write.

        Raises:
            InvalidArgumentError: It is not absolute, or its folder does not exist.
            PathNotAllowedError: It lies outside the roots.
            AlreadyExistsError: Something is there.
        """
        real = self.inside(path)
        if os.path.lexists(path) or real.exists():
            raise taken(path)
        if not real.parent.is_dir():
            raise InvalidArgumentError(
                f"The folder {real.parent} does not exist; make it first.", path=path
            )
        return real

    def inside(self, path: str) -> Path:
        """The real path of something, there or not.

        Raises:
            InvalidArgumentError: It is not absolute.
            PathNotAllowedError: It lies outside the roots.
        """
        if "\0" in path or not Path(path).is_absolute():
            raise InvalidArgumentError(
                f'"{path[:200]}" is not an absolute path on the machine of the ingest service.',
                path=path[:200],
            )
        real = Path(os.path.realpath(path))
        if not any(real != folder and real.is_relative_to(folder) for folder in self._folders):
            allowed = ", ".join(str(folder) for folder in self._folders) or "none is set"
            raise PathNotAllowedError(
                f"{path} is not inside a folder allowed by {self._setting} ({allowed}).",
                path=path,
            )
        return real
