"""Paints the annotation log into label volumes, for those who look and for those who train.

A label volume is the log replayed in the order of its revisions. It knows up to which revision it
is painted; painting a commit again before that is noted is harmless, because every later commit
is painted again after it.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable

import numpy as np
from numpy.typing import NDArray

from biosegment.client import arrays
from biosegment.client.errors import DomainError, FailedPreconditionError
from biosegment.client.geometry import Box, shape_of
from biosegment.client.stubs import AsyncStubs
from biosegment.runtime import log
from biosegment.runtime.arrays import coarser
from biosegment.runtime.bus import Message
from biosegment.storage.volumes import Volumes
from biosegment.v1 import annotations_pb2, events_pb2, registry_pb2, storage_pb2

_log = log.get(__name__)
_PAGE = 100
_DATASETS_PAGE = 1000


def paint(labels: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels after a commit.

    Args:
        labels: Class values, 255 = not labelled, axes ZYX.
        mask: The commit's mask of the same shape: class values, 254 = cleared, 255 = left.
    """
    painted = np.where(mask == arrays.NOT_LABELLED, labels, mask)
    painted[mask == arrays.CLEARED] = arrays.NOT_LABELLED
    return painted


async def _nothing() -> None:
    return None


class Painter:
    """Keeps the label volumes of all data sets up to date."""

    def __init__(self, volumes: Volumes, stubs: AsyncStubs, sweep_seconds: float) -> None:
        self._volumes = volumes
        self._stubs = stubs
        self._sweep_seconds = sweep_seconds
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def on_committed(self, message: Message) -> None:
        """Handles AnnotationCommitted."""
        event = events_pb2.AnnotationCommitted.FromString(message.data)
        answer = await self._stubs.registry.GetDataset(
            registry_pb2.GetDatasetRequest(name=event.dataset)
        )
        await self.catch_up(answer.dataset, event.revision, keep=message.keep)

    async def sweep(self, stopping: asyncio.Event) -> None:
        """Compares every label volume with its log, at the start and then now and again.

        Events wake faster; this finds what they missed.
        """
        while not stopping.is_set():
            try:
                await self._sweep_once(stopping)
            except DomainError as error:
                _log.warning("paint.sweep_failed", error=error.message)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), self._sweep_seconds)

    async def _sweep_once(self, stopping: asyncio.Event) -> None:
        token = ""
        while not stopping.is_set():
            page = await self._stubs.registry.ListDatasets(
                registry_pb2.ListDatasetsRequest(
                    parent="projects/-", page_size=_DATASETS_PAGE, page_token=token
                )
            )
            for dataset in page.datasets:
                if stopping.is_set():
                    return
                try:
                    await self.catch_up(dataset, dataset.revision)
                except DomainError as error:
                    _log.warning("paint.failed", dataset=dataset.name, error=error.message)
            token = page.next_page_token
            if not token:
                return

    async def catch_up(
        self,
        dataset: registry_pb2.Dataset,
        revision: int,
        *,
        keep: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        """Paints a data set's label volume up to a revision, or further if the log goes on.

        Args:
            dataset: The data set.
            revision: At least up to this one.
            keep: Called between pages of the log.

        Raises:
            DomainError: The log or the volume cannot be reached.
        """
        if not dataset.label_volume:
            return
        async with self._locks[dataset.label_volume]:
            volume = await self._volumes.get(dataset.label_volume)
            while volume.revision < revision:
                page = await self._stubs.annotations.ListAnnotations(
                    annotations_pb2.ListAnnotationsRequest(
                        parent=dataset.name,
                        page_size=_PAGE,
                        after_revision=volume.revision,
                        with_masks=True,
                    )
                )
                if not page.annotations:
                    raise FailedPreconditionError(
                        f"The log of {dataset.name} has no revision after {volume.revision}, but "
                        f"should have {revision}.",
                        name=dataset.name,
                    )
                for annotation in page.annotations:
                    await self._apply(volume, annotation)
                volume.revision = page.annotations[-1].revision
                await self._volumes.set_revision(volume.name, volume.revision)
                _log.info("labels.painted", volume=volume.name, revision=volume.revision)
                await keep()

    async def _apply(
        self, volume: storage_pb2.Volume, annotation: annotations_pb2.Annotation
    ) -> None:
        box = Box.from_proto(annotation.box)
        box.within(shape_of(volume.levels[0].shape), volume.name)
        mask = arrays.unpack_mask(annotation.mask, annotation.compression, box.shape)
        finer = await self._volumes.open_level(volume, 0)
        with self._volumes.reaching("painting"):
            region = finer[box.slices]
            await region.write(paint(await region.read(), mask))
            for n in range(1, len(volume.levels)):
                level = await self._volumes.open_level(volume, n)
                touched = _reduced(box, volume.levels[n]).slices
                await level[touched].write(await coarser(volume, finer, n)[touched].read())
                finer = level


def _reduced(box: Box, level: storage_pb2.VolumeLevel) -> Box:
    """The voxels of a level that have a part in a box of level 0."""
    factors = shape_of(level.downsampling)
    z, y, x = (a // f for a, f in zip(box.start, factors, strict=True))
    stop_z, stop_y, stop_x = (-(-b // f) for b, f in zip(box.stop, factors, strict=True))
    return Box((z, y, x), (stop_z, stop_y, stop_x))
