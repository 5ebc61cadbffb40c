"""Handlers of import and export jobs."""

import asyncio
import shutil
import uuid
from pathlib import Path

from biosegment.client import arrays
from biosegment.client.errors import DomainError
from biosegment.client.geometry import shape_proto
from biosegment.client.stubs import AsyncStubs
from biosegment.ingest import exports, imports
from biosegment.ingest.roots import Roots
from biosegment.ingest.tiff_source import TiffStack
from biosegment.runtime import log
from biosegment.runtime.child import Child
from biosegment.runtime.worker import JobContext
from biosegment.v1 import jobs_pb2, storage_pb2, types_pb2

_log = log.get(__name__)


class ImportHandler:
    """Files into a volume."""

    def __init__(self, roots: Roots, connection: Path, child: Child) -> None:
        self._roots = roots
        self._connection = connection
        self._child = child

    async def __call__(self, ctx: JobContext) -> jobs_pb2.JobResult:
        """Makes the volumes, fills the raw one, finishes it."""
        spec, made = ctx.job.import_spec, list[str]()
        try:
            return await self._run(ctx, spec, made)
        except Exception as error:
            if _is_last(ctx, error):
                await _delete(ctx.stubs, made)
            raise

    async def _run(
        self, ctx: JobContext, spec: jobs_pb2.ImportSpec, made: list[str]
    ) -> jobs_pb2.JobResult:
        stack = await imports.look(spec.source_path, self._roots)
        classes: list[int] | None = None
        kind = storage_pb2.VOLUME_KIND_IMAGE
        if spec.WhichOneof("target") == "labels":
            project = ctx.job.name.partition("/jobs/")[0]
            classes = await imports.known_classes(ctx.stubs, project)
            kind = storage_pb2.VOLUME_KIND_LABELS
        volume = _describe(spec, stack, kind)
        await _make(ctx, volume, made)
        if classes is None:
            view = _describe_view(spec, stack)
            await _make(ctx, view, made)
            # Nothing is ever missing in a view: what nobody labelled reads as not labelled.
            await ctx.stubs.storage.FinishVolume(storage_pb2.FinishVolumeRequest(name=view.name))
        read = await ctx.run_child(
            self._child,
            "biosegment.ingest.child:run_import",
            connection=str(self._connection),
            files=imports.files_of(stack),
            volume=volume.name,
            classes=classes,
        )
        await ctx.stubs.storage.FinishVolume(storage_pb2.FinishVolumeRequest(name=volume.name))
        result = jobs_pb2.ImportResult(
            volume=volume.name,
            shape=shape_proto(stack.shape),
            voxel_size=spec.voxel_size,
            voxel_bytes=read,
        )
        return jobs_pb2.JobResult(import_result=result)


def _describe(
    spec: jobs_pb2.ImportSpec, stack: TiffStack, kind: "storage_pb2.VolumeKind.ValueType"
) -> storage_pb2.Volume:
    return storage_pb2.Volume(
        name=spec.volume,
        kind=kind,
        format=imports.FORMATS[spec.format],
        data_type=arrays.data_type_of(stack.dtype),
        voxel_size=spec.voxel_size,
        levels=[storage_pb2.VolumeLevel(shape=shape_proto(stack.shape))],
    )


def _describe_view(spec: jobs_pb2.ImportSpec, stack: TiffStack) -> storage_pb2.Volume:
    return storage_pb2.Volume(
        name=imports.label_view(spec.dataset.name),
        kind=storage_pb2.VOLUME_KIND_LABELS,
        data_type=types_pb2.DATA_TYPE_UINT8,
        voxel_size=spec.voxel_size,
        levels=[storage_pb2.VolumeLevel(shape=shape_proto(stack.shape))],
        fill_value=arrays.NOT_LABELLED,
    )


async def _make(ctx: JobContext, volume: storage_pb2.Volume, made: list[str]) -> None:
    """Creates a volume, or takes up the one that an earlier attempt of this job created.

    The request id comes from the job, so that no other job's volume is ever taken for ours.
    """
    request_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{ctx.job.name}/{volume.name}"))
    await ctx.stubs.storage.CreateVolume(
        storage_pb2.CreateVolumeRequest(volume=volume, request_id=request_id)
    )
    made.append(volume.name)


def _is_last(ctx: JobContext, error: Exception) -> bool:
    """Whether no further attempt will come by itself."""
    if ctx.cancelled.is_set():
        return not ctx.released
    permanent = isinstance(error, DomainError) and not error.retryable
    return permanent or ctx.job.failures + 1 >= ctx.job.max_failures


async def _delete(stubs: AsyncStubs, volumes: list[str]) -> None:
    for name in volumes:
        try:
            await stubs.storage.DeleteVolume(storage_pb2.DeleteVolumeRequest(name=name))
        except DomainError as error:
            _log.warning("import.left_behind", volume=name, error=error.message)


class ExportHandler:
    """A volume into files."""

    def __init__(self, roots: Roots, connection: Path, child: Child) -> None:
        self._roots = roots
        self._connection = connection
        self._child = child

    async def __call__(self, ctx: JobContext) -> jobs_pb2.JobResult:
        """Writes beside the destination, then renames."""
        spec, job = ctx.job.export_spec, ctx.job
        destination = self._roots.new(spec.destination_path)
        draft = exports.draft_path(destination, job.name, job.attempt)
        # Earlier attempts lost their lease; what a killed one left is nobody's.
        pattern = exports.draft_pattern(destination, job.name)
        for stale in await asyncio.to_thread(lambda: list(destination.parent.glob(pattern))):
            await asyncio.to_thread(_remove, stale)
        try:
            size = await ctx.run_child(
                self._child,
                "biosegment.ingest.child:run_export",
                connection=str(self._connection),
                volume=spec.volume,
                path=str(draft),
                file_format=spec.format,
            )
            self._roots.new(spec.destination_path)
            await asyncio.to_thread(draft.rename, destination)
        finally:
            await asyncio.shield(asyncio.to_thread(_remove, draft))
        result = jobs_pb2.ExportResult(path=str(destination), size_bytes=size)
        return jobs_pb2.JobResult(export_result=result)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
