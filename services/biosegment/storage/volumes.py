"""The volumes of the store: made, found, finished, removed."""

import asyncio
import json
from collections import defaultdict
from contextlib import AbstractContextManager
from math import isfinite
from typing import Any

import tensorstore as ts

from biosegment.client import names
from biosegment.client.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from biosegment.runtime.stores import context
from biosegment.storage import layout, request
from biosegment.storage.store import EXTENSIONS, Place, Store, place_of
from biosegment.v1 import storage_pb2, types_pb2

_CACHE_BYTES = 128 << 20
_QUANTILES = 7
# Each of them has a tenth of the rim.
_MOST_PADDING = 10


class Volumes:
    """Every volume of a store. One process per store changes them, under a lock per volume."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        # Neighbouring pieces of a region share chunks; each cached chunk is checked before use.
        self._context = context(_CACHE_BYTES)

    async def create(
        self, asked: storage_pb2.Volume, request_id: str, *, replace_unfinished: bool
    ) -> storage_pb2.Volume:
        """Makes an empty volume in state WRITING.

        Args:
            asked: What the request describes.
            request_id: A repeat with the same id finds the volume that it made.
            replace_unfinished: Remove a volume of the same name that was never finished.

        Raises:
            InvalidArgumentError: The request is incomplete or makes no sense.
            AlreadyExistsError: The name is taken.
        """
        planned = request.plan(asked)
        place = place_of(asked.name, planned.format)
        async with self._locks[asked.name]:
            found = await self._find(asked.name)
            if found is not None:
                there, entry = found
                if request_id and entry.request_id == request_id and _same(entry.volume, planned):
                    return self._public(there, entry.volume)
                unfinished = entry.volume.state == storage_pb2.VOLUME_STATE_WRITING
                if not (replace_unfinished and unfinished):
                    raise AlreadyExistsError(
                        f'There is already a volume "{names.short(asked.name)}"'
                        f"{', not finished yet' if unfinished else ''}; take another name.",
                        name=asked.name,
                    )
                await self._remove(there)
            # What an interrupted create or delete left.
            await self._store.delete(place.prefix)
            await self._store.write(place.index_key, b"")
            for level in range(len(planned.levels)):
                spec = layout.create_spec(self._store.spec(place.level_path(level)), planned, level)
                # With "open": when an answer is lost and the request repeated, it is there.
                with self._store.reaching("writing"):
                    await ts.open(spec, create=True, open=True, context=self._context)
            # The volume exists from here on: its document is the last thing written.
            await self._save(place, layout.Entry(planned, request_id))
            return self._public(place, planned)

    async def get(self, name: str) -> storage_pb2.Volume:
        """One volume.

        Raises:
            NotFoundError: There is none.
        """
        place, entry = await self._require(name)
        return self._public(place, entry.volume)

    async def page(
        self, project: str, size: int, after: str
    ) -> tuple[list[storage_pb2.Volume], str]:
        """Volumes of a project by name.

        Args:
            project: Id of the project.
            size: At most this many.
            after: Only names after this one.

        Returns:
            The volumes, and the last name of the page if there are more.
        """
        found: list[storage_pb2.Volume] = []
        for name in await self._names(project):
            if name <= after:
                continue
            if len(found) == size:
                return found, found[-1].name
            known = await self._find(name)
            if known is not None:
                found.append(self._public(known[0], known[1].volume))
        return found, ""

    async def finish(
        self, name: str, grey: types_pb2.GreyStatistics | None = None
    ) -> storage_pb2.Volume:
        """Declares a volume complete; once more does no harm.

        Args:
            name: projects/p/volumes/v
            grey: Grey values of an image, if they are known.

        Raises:
            NotFoundError: There is no such volume.
            InvalidArgumentError: The grey values make no sense.
            FailedPreconditionError: It has grey values and holds labels.
        """
        async with self._locks[name]:
            place, entry = await self._require(name)
            volume = entry.volume
            if volume.state != storage_pb2.VOLUME_STATE_READY:
                if grey is not None:
                    _check_grey(place.volume_name, volume, grey)
                    volume.grey.CopyFrom(grey)
                if place.format == storage_pb2.VOLUME_FORMAT_N5:
                    await self._finish_n5_levels(place, volume)
                volume.state = storage_pb2.VOLUME_STATE_READY
                await self._save(place, entry)
            return self._public(place, volume)

    async def record_grey(self, name: str, grey: types_pb2.GreyStatistics) -> storage_pb2.Volume:
        """Keeps the grey values of a complete image that has none yet.

        Raises:
            NotFoundError: There is no such volume.
            InvalidArgumentError: The grey values make no sense.
            FailedPreconditionError: It is not complete, or holds labels.
        """
        async with self._locks[name]:
            place, entry = await self._require(name)
            _check_grey(name, entry.volume, grey)
            # Not by halves: what was measured later may be of other voxels.
            if entry.volume.state != storage_pb2.VOLUME_STATE_READY:
                raise FailedPreconditionError(
                    f"{name} is still being written; measure its grey values once it is complete.",
                    name=name,
                )
            if not entry.volume.HasField("grey"):
                entry.volume.grey.CopyFrom(grey)
                await self._save(place, entry)
            return self._public(place, entry.volume)

    async def set_revision(self, name: str, revision: int) -> None:
        """Notes up to which revision of the annotation log a volume is painted.

        Raises:
            NotFoundError: There is no such volume.
        """
        async with self._locks[name]:
            place, entry = await self._require(name)
            entry.volume.revision = revision
            await self._save(place, entry)

    async def delete(self, name: str, *, made_by: str = "") -> None:
        """Removes a volume; one that is not there is no error.

        Args:
            name: projects/p/volumes/v
            made_by: Only where the request of this id made it; "" for any.
        """
        async with self._locks[name]:
            if made_by:
                found = await self._find(name)
                if found is None or found[1].request_id != made_by:
                    return
            for volume_format in EXTENSIONS:
                place = place_of(name, volume_format)
                await self._remove(place)
                await self._store.delete(place.beside)

    async def level_specs(self, name: str) -> tuple[storage_pb2.Volume, list[str]]:
        """A volume and the tensorstore specs, as JSON, that open its levels.

        Raises:
            NotFoundError: There is no such volume.
        """
        place, entry = await self._require(name)
        specs = [self._open_spec(place, entry.volume, n) for n in range(len(entry.volume.levels))]
        return self._public(place, entry.volume), [json.dumps(spec) for spec in specs]

    async def open_level(self, volume: storage_pb2.Volume, level: int) -> Any:
        """The tensorstore of a level, axes ZYX or CZYX."""
        place = place_of(volume.name, volume.format)
        with self._store.reaching("opening"):
            return await ts.open(
                self._open_spec(place, volume, level), open=True, context=self._context
            )

    def reaching(self, doing: str) -> AbstractContextManager[None]:
        """For reads and writes of what ``open_level`` gave: ``Store.reaching``."""
        return self._store.reaching(doing)

    def _open_spec(self, place: Place, volume: storage_pb2.Volume, level: int) -> dict[str, Any]:
        return layout.open_spec(self._store.spec(place.level_path(level)), volume, level)

    async def _names(self, project: str) -> list[str]:
        """The full names of a project's volumes, in order."""
        listed = await self._store.keys(f"{project}/index/")
        return sorted({names.VOLUME.format(project, key.rpartition(".")[0]) for key in listed})

    async def _find(self, name: str) -> tuple[Place, layout.Entry] | None:
        for volume_format in EXTENSIONS:
            place = place_of(name, volume_format)
            document = await self._store.read(layout.group_key(place))
            if document is not None:
                return place, layout.read_document(place, document)
        return None

    async def _require(self, name: str) -> tuple[Place, layout.Entry]:
        found = await self._find(name)
        if found is None:
            project, _ = names.parse(names.VOLUME, name)
            raise names.not_found(names.VOLUME, name, await self._names(project))
        return found

    async def _save(self, place: Place, entry: layout.Entry) -> None:
        await self._store.write(layout.group_key(place), layout.group_document(place, entry))

    async def _remove(self, place: Place) -> None:
        # The document first: what is half removed must not read as complete.
        await self._store.write(layout.group_key(place), None)
        await self._store.delete(place.prefix)
        await self._store.write(place.index_key, None)

    async def _finish_n5_levels(self, place: Place, volume: storage_pb2.Volume) -> None:
        for level in range(len(volume.levels)):
            key = place.level_path(level) + "attributes.json"
            document = await self._store.read(key)
            if document is None:
                raise NotFoundError(f"Level {level} of {place.volume_name} has no metadata.")
            await self._store.write(key, layout.finished_level(volume, level, document))

    def _public(self, place: Place, volume: storage_pb2.Volume) -> storage_pb2.Volume:
        public = storage_pb2.Volume()
        public.CopyFrom(volume)
        public.name = place.volume_name
        public.uri = self._store.uri(place.prefix)
        return public


def _check_grey(name: str, volume: storage_pb2.Volume, grey: types_pb2.GreyStatistics) -> None:
    if volume.kind != storage_pb2.VOLUME_KIND_IMAGE:
        raise FailedPreconditionError(f"{name} holds labels, which have no grey values.", name=name)
    quantiles = list(grey.quantiles)
    rising = all(map(isfinite, (*quantiles, *grey.padding))) and quantiles == sorted(quantiles)
    few = len(quantiles) in (0, _QUANTILES) and len(grey.padding) <= _MOST_PADDING
    if not rising or not few or not 0 <= grey.left_out <= 1:
        raise InvalidArgumentError(
            f"The grey values of {name} must be {_QUANTILES} rising quantiles, or none, and a "
            "fraction of 0 to 1 of voxels left out.",
            field="grey",
        )


def _same(existing: storage_pb2.Volume, planned: storage_pb2.Volume) -> bool:
    """Whether an existing volume is what a request describes, whatever happened to it since."""
    probe = storage_pb2.Volume()
    probe.CopyFrom(existing)
    probe.state, probe.revision = planned.state, planned.revision
    probe.ClearField("grey")
    return probe == planned
