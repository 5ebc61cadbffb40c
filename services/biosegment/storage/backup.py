"""``python -m biosegment.storage.backup``: the arrays and objects of a store, copied into a folder.

The platform may run and write. What a record names that was copied before is in the store by then,
and what is stored is not changed any more, but for a few things: volumes that are being written
get more of what their record tells, checkpoints are replaced, and views of the annotation log are
painted. A view is copied without its voxels, to be painted anew, for it may show commits that the
record does not know.

The folder is a store of the same layout. What is there already and has not changed is not copied.
"""

import asyncio
import contextlib
import errno
import hashlib
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biosegment.client.errors import DomainError, ResourceExhaustedError, StoreError
from biosegment.storage import address, layout
from biosegment.storage.copies import Folder, KeyValues, Source
from biosegment.storage.store import EXTENSIONS, Place, Store, object_path, place_of
from biosegment.v1 import storage_pb2

_IDENTITY = ".biosegment/identity"
_METADATA = ("zarr.json", "attributes.json")
_TELL_SECONDS = 2.0


@dataclass(slots=True)
class Plan:
    """What to copy, as ``registry.backup.named`` and ``listed`` tell.

    Attributes:
        projects: Their ids; all their objects are copied.
        volumes: Resource names; those that are not there are left out.
        views: Those that are views of the annotation log.
        needed: Volumes that must be complete in the copy.
        objects: Objects that must be in the copy, with their SHA-256 or "".
    """

    projects: list[str]
    volumes: list[str]
    views: list[str]
    needed: list[str]
    objects: dict[str, str]


@dataclass(slots=True)
class Copied:
    """What the copy has.

    Attributes:
        files: Bytes of each file, by its path in the copy.
        missing: Names of what is needed and not there, or not as it must be.
        fetched: How many files were copied now, and not before.
    """

    files: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    fetched: int = 0


def source_of(store: Store) -> Source:
    """How the values of a store are copied."""
    spec = store.spec("")
    return Folder(Path(spec["path"])) if spec["driver"] == "file" else KeyValues(store)


async def listed(store: Store) -> dict[str, Any]:
    """The identity of a store, and the resource names of its volumes."""
    names = set()
    for project, file_name in await source_of(store).index():
        for volume_format, extension in EXTENSIONS.items():
            if file_name.endswith(extension):
                names.add(Place(project, file_name, volume_format).volume_name)
    identity = await store.read(_IDENTITY)
    return {"identity": (identity or b"").decode(), "volumes": sorted(names)}


class Backup:
    """One copying of a store into a folder."""

    def __init__(self, store: Store, target: Path) -> None:
        """Takes the store and the folder of the copy, which may hold an earlier one."""
        self._store = store
        self._source = source_of(store)
        self._target = target
        self._copied = Copied()
        self._bytes = 0
        self._told = time.monotonic()

    async def take(self, plan: Plan) -> Copied:
        """Copies and verifies.

        Raises:
            ResourceExhaustedError: The disk of the copy is full.
            StoreError: A file could not be read or written.
            DomainError: The store cannot be reached.
        """
        try:
            for project in plan.projects:
                for key, stamp in await self._source.keys(f"{project}/objects/"):
                    kept = not key.startswith(f"{project}/objects/jobs/")
                    await self._fetch(key, stamp, kept=kept)
            states = {}
            for name in plan.volumes:
                states[name] = await self._volume(name, view=name in plan.views)
            ready = storage_pb2.VOLUME_STATE_READY
            self._copied.missing += [name for name in plan.needed if states.get(name) != ready]
            for name, digest in plan.objects.items():
                if not await asyncio.to_thread(self._has, object_path(name), digest):
                    self._copied.missing.append(name)
        except OSError as error:
            raise _trouble(error, self._target) from None
        return self._copied

    async def _volume(self, name: str, *, view: bool) -> int | None:
        """Copies a volume; its state in the copy, None where there is none."""
        for volume_format in EXTENSIONS:
            place = place_of(name, volume_format)
            key = layout.group_key(place)
            # First of all: a volume that is complete by then is copied complete.
            document = await self._store.read(key)
            if document is None:
                continue
            entry = layout.read_document(place, document)
            ready = entry.volume.state == storage_pb2.VOLUME_STATE_READY
            before = self._read(key)
            keys = [key, place.index_key]
            for inner, stamp in await self._source.keys(place.prefix):
                metadata = inner.rpartition("/")[2] in _METADATA
                if inner == key or (view and not metadata):
                    continue
                # What cannot be seen to be unchanged is the same where the volume is.
                if await self._fetch(inner, stamp, kept=ready and before == document):
                    keys.append(inner)
            found = await self._store.read(key)
            again = layout.read_document(place, found) if found is not None else None
            if again is None or again.request_id != entry.request_id:
                # Deleted meanwhile: what was copied may lack voxels.
                for each in keys:
                    self._copied.files.pop(each, None)
                return None
            if view:
                entry.volume.revision = 0
                document = layout.group_document(place, entry)
            self._write(key, document)
            self._write(place.index_key, b"")
            return entry.volume.state
        return None

    async def _fetch(self, key: str, stamp: Any, *, kept: bool) -> bool:
        """Copies a value unless it is there already; whether there is one."""
        path = self._target / key
        fetched = await asyncio.to_thread(self._source.is_there, stamp, path, kept=kept)
        if not fetched:
            if not await self._source.fetch(key, stamp, path):
                return False
            self._copied.fetched += 1
        self._note(key)
        return True

    def _write(self, key: str, data: bytes) -> None:
        path = self._target / key
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.copy")
        draft.write_bytes(data)
        draft.replace(path)
        self._note(key)

    def _read(self, key: str) -> bytes | None:
        with contextlib.suppress(FileNotFoundError):
            return (self._target / key).read_bytes()
        return None

    def _note(self, key: str) -> None:
        size = (self._target / key).stat().st_size
        self._copied.files[key] = size
        self._bytes += size
        if time.monotonic() - self._told >= _TELL_SECONDS:
            self._told = time.monotonic()
            sys.stderr.write(
                f"  {len(self._copied.files)} files, {self._bytes / 1e9:.2f} GB, "
                f"{self._copied.fetched} of them new\n"
            )

    def _has(self, key: str, digest: str) -> bool:
        path = self._target / key
        if key not in self._copied.files or not path.is_file():
            return False
        if not digest:
            return True
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest


def _trouble(error: OSError, target: Path) -> DomainError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceExhaustedError(
            f"The disk of {target} is full. Make room there and run the same again; what is "
            "copied already is not copied anew."
        )
    return StoreError(f"{error.filename or target} cannot be copied: {error.strerror or error}.")


def main() -> None:
    """Does ``list STORE ENDPOINT REGION``, or ``copy STORE ENDPOINT REGION TARGET``.

    The plan of a copy is JSON on stdin. The answer is JSON on stdout; progress and errors are
    lines on stderr.
    """
    verb, place, endpoint, region, *target = sys.argv[1:]

    async def run() -> Any:
        store = Store(address.base_spec(place, endpoint, region))
        if verb == "list":
            return await listed(store)
        plan = Plan(**json.load(sys.stdin))
        copied = await Backup(store, Path(target[0])).take(plan)
        return {
            "files": copied.files,
            "missing": copied.missing,
            "fetched": copied.fetched,
        }

    try:
        answer = asyncio.run(run())
    except DomainError as error:
        sys.stderr.write(f"{error.message}\n")
        raise SystemExit(2) from None
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
