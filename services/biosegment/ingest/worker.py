"""Handlers of import and export jobs."""

import asyncio
from math import prod
from pathlib import Path

from biosegment.client import arrays
from biosegment.client.errors import DomainError
from biosegment.client.geometry import shape_proto
from biosegment.client.label_values import LabelReader
from biosegment.ingest import exports, imports, leftovers, placing
from biosegment.ingest.looks import Looks
from biosegment.ingest.readers.base import Stack
from biosegment.ingest.roots import Roots
from biosegment.runtime import log
from biosegment.runtime.child import Child
from biosegment.runtime.worker import JobContext
from biosegment.v1 import jobs_pb2, storage_pb2, types_pb2

_log = log.get(__name__)


class ImportHandler:
    """Files into a volume."""

    def __init__(self, sources: imports.Sources, connection: Path, child: Child) -> None:
        self._sources = sources
        self._connection = connection
        self._child = child

    async def __call__(self, ctx: JobContext) -> jobs_pb2.JobResult:
        """Makes the volumes, fills the raw one, finishes it."""
        try:
            return await self._run(ctx, ctx.job.import_spec)
        except Exception as error:
            if _is_last(ctx, error):
                # Before the job ends, so that the names are free when people hear of it.
                try:
                    await leftovers.remove_volumes(ctx.stubs, ctx.job)
                except DomainError as trouble:
                    _log.warning("import.left_behind", job=ctx.job.name, error=trouble.message)
            raise

    async def _run(self, ctx: JobContext, spec: jobs_pb2.ImportSpec) -> jobs_pb2.JobResult:
        of_labels = spec.WhichOneof("target") == "labels"
        stack = await self._sources.look(spec)
        labels: LabelReader | None = None
        if of_labels:
            project = ctx.job.name.partition("/jobs/")[0]
            labels = imports.label_reader(spec, await imports.known_classes(ctx.stubs, project))
        volume = _describe(spec, stack, of_labels=of_labels)
        await _make(ctx, volume)
        if labels is None:
            view = _describe_view(spec, stack)
            await _make(ctx, view)
            # Nothing is ever missing in a view: what nobody labelled reads as not labelled.
            await ctx.stubs.storage.FinishVolume(storage_pb2.FinishVolumeRequest(name=view.name))
        read, left, grey = await ctx.run_child(
            self._child,
            "biosegment.ingest.child:run_import",
            connection=str(self._connection),
            source=spec.source_path,
            stack=stack,
            volume=volume.name,
            labels=labels,
        )
        finish = storage_pb2.FinishVolumeRequest(name=volume.name)
        if labels is None:
            finish.grey.MergeFromString(grey)
        await ctx.stubs.storage.FinishVolume(finish)
        result = jobs_pb2.ImportResult(
            volume=volume.name,
            shape=shape_proto(stack.shape),
            voxel_size=spec.voxel_size,
            voxel_bytes=read,
        )
        warnings = []
        if left:
            warnings.append(
                f"{left} of {prod(stack.shape)} voxels of {spec.volume} are not labelled "
                f"({arrays.NOT_LABELLED}); figures leave them out."
            )
        return jobs_pb2.JobResult(import_result=result, warnings=warnings)


def _describe(spec: jobs_pb2.ImportSpec, stack: Stack, *, of_labels: bool) -> storage_pb2.Volume:
    image, labels = storage_pb2.VOLUME_KIND_IMAGE, storage_pb2.VOLUME_KIND_LABELS
    return storage_pb2.Volume(
        name=spec.volume,
        kind=labels if of_labels else image,
        format=imports.FORMATS[spec.format],
        # Whatever the files count with, labels are class values.
        data_type=types_pb2.DATA_TYPE_UINT8 if of_labels else arrays.data_type_of(stack.dtype),
        voxel_size=spec.voxel_size,
        levels=[storage_pb2.VolumeLevel(shape=shape_proto(stack.shape))],
    )


def _describe_view(spec: jobs_pb2.ImportSpec, stack: Stack) -> storage_pb2.Volume:
    return storage_pb2.Volume(
        name=imports.label_view(spec.dataset.name),
        kind=storage_pb2.VOLUME_KIND_LABELS,
        data_type=types_pb2.DATA_TYPE_UINT8,
        voxel_size=spec.voxel_size,
        levels=[storage_pb2.VolumeLevel(shape=shape_proto(stack.shape))],
        fill_value=arrays.NOT_LABELLED,
    )


async def _make(ctx: JobContext, volume: storage_pb2.Volume) -> None:
    """Creates a volume, or takes up the one that an earlier attempt of this job created."""
    request_id = imports.request_id(ctx.job.name, volume.name)
    await ctx.stubs.storage.CreateVolume(
        storage_pb2.CreateVolumeRequest(volume=volume, request_id=request_id)
    )


def _is_last(ctx: JobContext, error: Exception) -> bool:
    """Whether no further attempt will come by itself."""
    if ctx.cancelled.is_set():
        return not ctx.released
    permanent = isinstance(error, DomainError) and not error.retryable
    return permanent or ctx.job.failures + 1 >= ctx.job.max_failures


class ExportHandler:
    """A volume into files."""

    def __init__(self, roots: Roots, looks: Looks, connection: Path, child: Child) -> None:
        self._roots = roots
        self._looks = looks
        self._connection = connection
        self._child = child

    async def __call__(self, ctx: JobContext) -> jobs_pb2.JobResult:
        """Writes beside the destination, then puts it there."""
        spec, name = ctx.job.export_spec, ctx.job.name
        # Earlier attempts lost their lease; what a killed one left is nobody's.
        destination, size = await self._looks.run(
            "prepare", path=spec.destination_path, roots=self._roots, job=name
        )
        if size is None:
            size = await self._write(ctx, destination)
        result = jobs_pb2.ExportResult(path=str(destination), size_bytes=size)
        return jobs_pb2.JobResult(export_result=result)

    async def _write(self, ctx: JobContext, destination: Path) -> int:
        spec, job = ctx.job.export_spec, ctx.job
        draft = placing.draft_path(destination, job.name, job.attempt)
        try:
            size = int(
                await ctx.run_child(
                    self._child,
                    "biosegment.ingest.child:run_export",
                    connection=str(self._connection),
                    volume=spec.volume,
                    path=str(draft),
                    file_format=spec.format,
                    palette=await exports.palette(ctx.stubs, spec.volume),
                )
            )
            await self._looks.run(
                "place", path=str(destination), draft=draft, job=job.name, size=size
            )
            return size
        finally:
            await asyncio.shield(self._looks.run("remove", path=str(draft)))
