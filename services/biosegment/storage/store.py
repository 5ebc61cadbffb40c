"""The place where everything lies: a tensorstore key-value store.

Volumes are at ``<project>/<volume>.zarr`` or ``.n5``, objects at ``<project>/objects/…``. Listing
a key-value store lists every chunk, so each volume also has an empty key in ``<project>/index/``.
What the store knows of itself is in ``.biosegment/``.
"""

import asyncio
import contextlib
import os
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorstore as ts

from biosegment.client import names
from biosegment.client.errors import InvalidArgumentError
from biosegment.runtime.stores import context, reaching, where_of
from biosegment.storage import address
from biosegment.v1 import storage_pb2

EXTENSIONS = {storage_pb2.VOLUME_FORMAT_OME_ZARR: ".zarr", storage_pb2.VOLUME_FORMAT_N5: ".n5"}
_OBJECT_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_MAX_OBJECT_NAME = 512
# The file driver writes a value under this suffix before it renames it.
LOCK_SUFFIX = ".__lock"
# Tensorstore's StorageGeneration::NoValue: write only where there is nothing.
_NO_VALUE = b"\x02"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a volume lies, below the base of the store.

    Attributes:
        project: Id of its project.
        file_name: Its id with the extension of its format.
        format: Its layout.
    """

    project: str
    file_name: str
    format: "storage_pb2.VolumeFormat.ValueType"

    @property
    def prefix(self) -> str:
        """Prefix of all its keys."""
        return f"{self.project}/{self.file_name}/"

    @property
    def index_key(self) -> str:
        """The key that says that it is there."""
        return f"{self.project}/index/{self.file_name}"

    @property
    def volume_name(self) -> str:
        """Its resource name, projects/p/volumes/v."""
        return names.VOLUME.format(self.project, self.file_name.rpartition(".")[0])

    @property
    def beside(self) -> str:
        """Prefix of the objects that belong to it, such as the table of its instances."""
        return f"{self.project}/objects/instances/{self.file_name.rpartition('.')[0]}/"

    def level_path(self, level: int) -> str:
        """Prefix of one level's keys."""
        letter = "s" if self.format == storage_pb2.VOLUME_FORMAT_N5 else ""
        return f"{self.prefix}{letter}{level}/"


def place_of(name: str, volume_format: "storage_pb2.VolumeFormat.ValueType") -> Place:
    """Where a volume of a name and format lies.

    Raises:
        InvalidArgumentError: The name is not projects/p/volumes/v.
    """
    project, volume = names.parse(names.VOLUME, name)
    return Place(project, volume + EXTENSIONS[volume_format], volume_format)


def object_path(name: str) -> str:
    """Where a named object lies.

    Args:
        name: projects/p/objects/…

    Raises:
        InvalidArgumentError: The name could leave the project's objects.
    """
    parts = name.split("/")
    legal = (
        len(parts) > 3
        and parts[2] == "objects"
        and len(name) <= _MAX_OBJECT_NAME
        and all(_OBJECT_PART.fullmatch(part) for part in parts[3:])
        and not any(part.endswith(LOCK_SUFFIX) for part in parts)
    )
    if not legal:
        raise InvalidArgumentError(
            f'"{name[:200]}" is not a name like projects/…/objects/…, made of letters, digits, '
            '"-", "_", "." and "/", where no part begins with ".".',
            name=name[:200],
        )
    (project,) = names.parse(names.PROJECT, "/".join(parts[:2]))
    return "/".join([project, "objects", *parts[3:]])


class Store:
    """Keys and values below a base. All access to the place goes through here or its specs."""

    def __init__(self, base: dict[str, Any]) -> None:
        """Takes the tensorstore kvstore spec of the base; its path ends in "/"."""
        self._base = base
        self._kvstore: Any = None

    @classmethod
    def of_folder(cls, folder: Path) -> "Store":
        """The store in a folder, which is made if need be."""
        return cls(address.folder_spec(folder))

    def spec(self, path: str) -> dict[str, Any]:
        """Kvstore spec of a path below the base."""
        return {**self._base, "path": self._base["path"] + path}

    def uri(self, path: str) -> str:
        """A path below the base, for people and other readers."""
        return where_of(self.spec(path))

    def reaching(self, doing: str) -> AbstractContextManager[None]:
        """Turns what tensorstore raises into the platform's errors: ``runtime.stores.reaching``."""
        return reaching(self.uri(""), doing)

    async def _open(self) -> Any:
        if self._kvstore is None:
            self._kvstore = await ts.KvStore.open(self._base, context=context())
        return self._kvstore

    async def read(self, path: str) -> bytes | None:
        """The value of a key, None if there is none."""
        with self.reaching("reading"):
            found = await (await self._open()).read(path)
        return bytes(found.value) if found.state == "value" else None

    async def write(self, path: str, value: bytes | None) -> None:
        """Sets a key, whole or not at all; None removes it."""
        with self.reaching("deleting" if value is None else "writing"):
            await (await self._open()).write(path, value)

    async def write_new(self, path: str, value: bytes) -> bool:
        """Sets a key if there is none of that name; whether it was set."""
        with self.reaching("writing"):
            made = await (await self._open()).write(path, value, if_equal=_NO_VALUE)
        return bool(made.generation)

    async def keys(self, prefix: str) -> list[str]:
        """What follows the prefix in every key that begins with it, in order."""
        with self.reaching("listing"):
            found = await (await self._open()).list(_range(prefix), len(prefix))
        return sorted(key.decode() for key in found)

    async def delete(self, prefix: str) -> None:
        """Removes every key that begins with the prefix, and folders that are empty then."""
        with self.reaching("deleting"):
            await (await self._open()).delete_range(_range(prefix))
        if self._base["driver"] == "file" and prefix.endswith("/"):
            await asyncio.to_thread(_prune, Path(self._base["path"] + prefix))


def _prune(folder: Path) -> None:
    """Removes the folders at and below one that hold nothing; whoever writes there makes them."""
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):  # Not empty, or gone.
            Path(path).rmdir()


def _range(prefix: str) -> Any:
    if not prefix:
        return ts.KvStore.KeyRange("", "")
    return ts.KvStore.KeyRange(prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1))
