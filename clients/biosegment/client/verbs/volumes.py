"""Files into volumes and back, and reading voxels."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from biosegment.client import arrays, grants, names
from biosegment.client.complete import check_complete
from biosegment.client.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    OutsideVolumeError,
)
from biosegment.client.geometry import Box, shape_of
from biosegment.client.label_values import parse_rules
from biosegment.client.verbs.base import (
    ARRAY_SECONDS,
    QUICK_SECONDS,
    START_SECONDS,
    Verbs,
    collect,
    is_segmentation,
    request_id,
)
from biosegment.v1 import ingest_pb2, jobs_pb2, registry_pb2, storage_pb2
from biosegment.v1 import types_pb2 as pb

_ALL = 1_000_000
_GAPS = {
    "refuse": jobs_pb2.GAP_POLICY_UNSPECIFIED,
    "close": jobs_pb2.GAP_POLICY_CLOSE,
    "fill": jobs_pb2.GAP_POLICY_FILL,
}
MAX_READ_BYTES = 1 << 30
"""What ``read`` fetches at most, unless told otherwise."""


def _absolute(path: str | Path) -> str:
    return str(Path(path).expanduser().absolute())


def _reading(axes: str, image: int, gaps: str, files: str) -> jobs_pb2.FileReading:
    if gaps not in _GAPS:
        raise InvalidArgumentError(f'gaps is {", ".join(_GAPS)}, not "{gaps[:40]}".')
    if not 0 <= image < 1 << 31:
        raise InvalidArgumentError(f"There is no stack {image} in a file; the first one is 1.")
    return jobs_pb2.FileReading(axes=axes, image=image, gaps=_GAPS[gaps], files=files)


def _voxel_size(size: tuple[float, float, float] | None) -> pb.VoxelSize | None:
    return None if size is None else pb.VoxelSize(z=size[0], y=size[1], x=size[2])


class VolumeVerbs(Verbs):
    """Import, export, and the data plane of storage."""

    async def import_volume(
        self,
        path: str | Path,
        *,
        dataset: str,
        voxel_size: tuple[float, float, float] | None = None,
        metadata: Mapping[str, str] | None = None,
        display_name: str = "",
        volume: str | None = None,
        axes: str = "",
        image: int = 0,
        gaps: str = "refuse",
        files: str = "",
        own_file: bool = False,
    ) -> jobs_pb2.Job:
        """Starts the import of an image stack as a new data set.

        Args:
            path: A TIFF file or a folder of TIFF files, as the ingest service sees it, under one
                of its import roots.
            dataset: The name of the data set to make.
            voxel_size: In nanometres, (z, y, x); by default as the file says.
            metadata: Modality, organism, sample, treatment and whatever else is known.
            display_name: For people.
            volume: The name of the raw volume; by default the data set's with "-raw".
            axes: Of the pages, such as "ZYX", which takes every page as a section whatever the
                file's header says; by default as the file says.
            image: Which stack of a file that holds several, from 1.
            gaps: Where the files of a folder are numbered with gaps: "refuse", "close" (go on
                without) or "fill" (with empty sections).
            files: Which files of a folder are meant, such as "slice_*.tif"; by default all.
            own_file: Whether whoever calls named the file himself, on the machine of the platform
                and as its user: it need not lie under a root then. Never for others' requests.

        Returns:
            The job; ``wait`` for it.

        Raises:
            AlreadyExistsError: The data set or the volume exists.
            InvalidArgumentError: The files cannot be read as one stack.
            PathNotAllowedError: The path leaves the import roots.
        """
        name = self.name(names.DATASET, dataset)
        spec = jobs_pb2.ImportSpec(
            source_path=_absolute(path),
            volume=self._volume_name(volume, name, "raw"),
            voxel_size=_voxel_size(voxel_size),
            dataset=jobs_pb2.DatasetTarget(
                name=name, display_name=display_name, metadata=metadata or {}
            ),
            reading=_reading(axes, image, gaps, files),
        )
        return await self._start_import(spec, own_file=own_file)

    async def import_labels(
        self,
        path: str | Path,
        *,
        dataset: str,
        volume: str | None = None,
        label_map: Sequence[str] = (),
        axes: str = "",
        image: int = 0,
        gaps: str = "refuse",
        files: str = "",
        own_file: bool = False,
    ) -> jobs_pb2.Job:
        """Starts the import of reference labels of an existing data set.

        Args:
            path: Whole numbers over the data set's shape: a TIFF file or a folder of them.
            dataset: The data set.
            volume: The name of the label volume; by default the data set's with "-reference".
            label_map: Rules for numbers that mean something else than in the project, such as
                ``["255=1"]``, ``["1-=1"]`` for every number from 1 up, or ``["255=255"]`` where
                255 does mean "not labelled".
            axes: As for ``import_volume``, and so are those that follow.
            image: Which stack of a file that holds several, from 1.
            gaps: "refuse", "close" or "fill" (as not labelled).
            files: Which files of a folder are meant.
            own_file: Whether whoever calls named the file himself.

        Raises:
            AlreadyExistsError: The volume exists.
            InvalidArgumentError: The labels do not fit the data set, or hold a number without a
                meaning, or one that could mean two things.
            NotFoundError: There is no such data set.
            PathNotAllowedError: The path leaves the import roots.
        """
        name = self.name(names.DATASET, dataset)
        spec = jobs_pb2.ImportSpec(
            source_path=_absolute(path),
            volume=self._volume_name(volume, name, "reference"),
            labels=jobs_pb2.LabelsTarget(
                dataset=name, mappings=[rule.to_proto() for rule in parse_rules(label_map)]
            ),
            reading=_reading(axes, image, gaps, files),
        )
        return await self._start_import(spec, own_file=own_file)

    async def export(
        self,
        volume: str,
        path: str | Path,
        *,
        format: str = "tiff",  # noqa: A002 - the proto's word
    ) -> jobs_pb2.Job:
        """Starts the export of a volume.

        Args:
            volume: The volume.
            path: Where to, as the ingest service sees it; must not exist, and lies under one of
                its export roots.
            format: "tiff" or "ome-zarr".

        Raises:
            AlreadyExistsError: The path exists.
            NotFoundError: There is no such volume.
            PathNotAllowedError: The path leaves the export roots.
        """
        name = await self._any_volume_name(volume)
        request = ingest_pb2.StartExportRequest(
            parent=names.project_of(name),
            request_id=request_id(),
            spec=jobs_pb2.ExportSpec(volume=name, destination_path=_absolute(path), format=format),
        )
        return (await self.stubs.ingest.StartExport(request, timeout=START_SECONDS)).job

    async def volume(self, volume: str) -> storage_pb2.Volume:
        """One volume: its kind, element type, voxel size and scale levels.

        Raises:
            NotFoundError: There is none of that name.
        """
        request = storage_pb2.GetVolumeRequest(name=await self._any_volume_name(volume))
        return (await self.stubs.storage.GetVolume(request, timeout=QUICK_SECONDS)).volume

    async def volumes(self, *, limit: int = 1000) -> list[storage_pb2.Volume]:
        """The volumes of the project, by name."""
        return await collect(
            self.stubs.storage.ListVolumes,
            storage_pb2.ListVolumesRequest(parent=names.PROJECT.format(self.project)),
            lambda response: response.volumes,
            limit,
        )

    async def delete_volume(self, volume: str) -> None:
        """Removes a volume that nothing refers to, such as one that a cancelled job left behind.

        Raises:
            FailedPreconditionError: A data set or a segmentation needs it.
            NotFoundError: There is none of that name.
        """
        name = (await self.volume(volume)).name
        project = names.project_of(name)
        async for owner, used in self._references(project):
            if name in used:
                kind = "segmentation" if is_segmentation(owner) else "data set"
                raise FailedPreconditionError(
                    f"The volume {names.short(name)} cannot be deleted: the {kind} "
                    f"{names.short(owner)} needs it, and a {kind} cannot be deleted yet.",
                    name=name,
                    owner=owner,
                )
        request = storage_pb2.DeleteVolumeRequest(name=name)
        await self.stubs.storage.DeleteVolume(request, timeout=ARRAY_SECONDS)

    async def _references(self, project: str) -> AsyncIterator[tuple[str, set[str]]]:
        datasets = await collect(
            self.stubs.registry.ListDatasets,
            registry_pb2.ListDatasetsRequest(parent=project),
            lambda response: response.datasets,
            _ALL,
        )
        for dataset in datasets:
            yield (
                dataset.name,
                {dataset.raw_volume, dataset.label_volume} | set(dataset.reference_volumes),
            )
            segmentations = await collect(
                self.stubs.registry.ListSegmentations,
                registry_pb2.ListSegmentationsRequest(parent=dataset.name),
                lambda response: response.segmentations,
                _ALL,
            )
            for segmentation in segmentations:
                yield segmentation.name, {segmentation.volume}

    async def read(
        self,
        source: str,
        box: Box | None = None,
        *,
        level: int = 0,
        max_bytes: int = MAX_READ_BYTES,
        unfinished: bool = False,
    ) -> NDArray[Any]:
        """Reads voxels.

        Args:
            source: A data set (short or full name), whose raw volume is read; a segmentation
                (``liver/mito-1``); or the full name of a volume, ``projects/p/volumes/v``.
            box: The voxels, of the scale level that the box names; None means all of ``level``.
            level: With no box: the scale level to read whole.
            max_bytes: More than this is refused, so that no volume fills the memory by accident.
            unfinished: Read also what is there of a volume that is not complete; the rest reads
                as its fill value.

        Returns:
            Axes ZYX, or CZYX where the volume has channels.

        Raises:
            NotFoundError: There is no such volume or data set.
            FailedPreconditionError: The volume is not complete.
            OutsideVolumeError: The box leaves the volume, or there is no such level.
            InvalidArgumentError: The box holds more than max_bytes.
        """
        volume = await self._readable(source, unfinished)
        if box is None:
            box = await self._whole(volume, level)
        decoder = arrays.Decoder(max_bytes)
        request = storage_pb2.ReadRegionRequest(name=volume, box=box.to_proto())
        async for response in self.stubs.storage.ReadRegion(request, timeout=ARRAY_SECONDS):
            decoder.feed(response.chunk)
        return decoder.array()[1]

    async def _readable(self, source: str, unfinished: bool) -> str:
        volume = source.startswith("projects/") and source.split("/")[2:3] == ["volumes"]
        if volume or is_segmentation(source):
            found = await self.volume(source)
            return found.name if unfinished else check_complete(found).name
        request = registry_pb2.GetDatasetRequest(name=self.name(names.DATASET, source))
        dataset = (await self.stubs.registry.GetDataset(request, timeout=QUICK_SECONDS)).dataset
        return dataset.raw_volume

    async def _whole(self, volume: str, level: int) -> Box:
        levels = (await self.volume(volume)).levels
        if not 0 <= level < len(levels):
            raise OutsideVolumeError(
                f"{volume} has no scale level {level}; it has 0 to {len(levels) - 1}.",
                name=volume,
                level=level,
            )
        return Box.of_shape(shape_of(levels[level].shape), level)

    async def _start_import(self, spec: jobs_pb2.ImportSpec, *, own_file: bool) -> jobs_pb2.Job:
        if own_file:
            spec.grant = self._grant(spec)
        request = ingest_pb2.StartImportRequest(
            parent=names.project_of(spec.volume), request_id=request_id(), spec=spec
        )
        return (await self.stubs.ingest.StartImport(request, timeout=START_SECONDS)).job

    def _grant(self, spec: jobs_pb2.ImportSpec) -> str:
        """Proof that the caller can read a source; "" where he has no key of the platform."""
        key = grants.read_key(self.connection.path) if self.connection.path is not None else None
        real = Path(os.path.realpath(spec.source_path))
        return grants.grant(key, real, spec.volume) if key and os.access(real, os.R_OK) else ""

    def _volume_name(self, given: str | None, dataset: str, suffix: str) -> str:
        if given is not None:
            return self.name(names.VOLUME, given)
        project, short = names.parse(names.DATASET, dataset)
        return names.VOLUME.format(project, names.check_id(f"{short}-{suffix}", "volume"))
