"""Handlers of segmentation and evaluation jobs."""

import uuid
from typing import Any

from biosegment.client.geometry import Box
from biosegment.inference import segmentation
from biosegment.inference.calls import Calls
from biosegment.runtime.worker import BlockPlan, BlocksContext, JobContext
from biosegment.v1 import jobs_pb2, registry_pb2, storage_pb2


class SegmentHandler:
    """The first and the last part of a segmentation: make the volume, finish it."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def __call__(self, ctx: JobContext) -> jobs_pb2.JobResult | BlockPlan:
        """Does the part that is due."""
        if ctx.job.stage == jobs_pb2.JOB_STAGE_FINISH:
            return await self._finish(ctx)
        return await self._begin(ctx)

    async def _begin(self, ctx: JobContext) -> BlockPlan:
        spec = ctx.job.segment_spec
        answer = await ctx.stubs.registry.GetDataset(
            registry_pb2.GetDatasetRequest(name=spec.dataset)
        )
        for volume in segmentation.output_volumes(spec, answer.dataset):
            # The id comes from the job: another attempt finds the volumes that the first one made,
            # and no other job's volume is ever taken for one of them.
            request_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{ctx.job.name}/{volume.name}"))
            await ctx.stubs.storage.CreateVolume(
                storage_pb2.CreateVolumeRequest(request_id=request_id, volume=volume)
            )
        return BlockPlan(segmentation.blocks(spec))

    async def _finish(self, ctx: JobContext) -> jobs_pb2.JobResult:
        spec = ctx.job.segment_spec
        volumes = list(segmentation.volume_names(spec).values())
        await self._calls.work(
            "segment:finish",
            on_report=lambda report: ctx.progress(**report),
            cancelled=ctx.cancelled,
            volumes=volumes,
        )
        # A volume that lacks blocks stays WRITING, for no reader to take it for complete; the job
        # comes by here again once they have been retried.
        for volume in volumes if not ctx.job.blocks.quarantined else ():
            await ctx.stubs.storage.FinishVolume(storage_pb2.FinishVolumeRequest(name=volume))
        return jobs_pb2.JobResult(
            segment_result=jobs_pb2.SegmentResult(
                volume=spec.volume,
                voxels=_segmented_voxels(ctx.job),
                entropy_volume=spec.entropy_volume,
                skipped_blocks=ctx.job.blocks.skipped,
            )
        )


def _segmented_voxels(job: jobs_pb2.Job) -> int:
    """Voxels whose blocks are done; the record lists the first of those that are not."""
    box = Box.from_proto(job.segment_spec.box)
    lost = [
        Box.from_proto(failure.box).intersection(box)
        for failure in job.partial_failures[: job.blocks.quarantined]
    ]
    voxels = sum(part.voxels for part in lost if part is not None)
    if lost and job.blocks.quarantined > len(lost):
        voxels = voxels * job.blocks.quarantined // len(lost)
    return max(0, box.voxels - voxels)


class BlocksHandler:
    """Runs of blocks in between."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def __call__(self, ctx: BlocksContext) -> None:
        """Segments the blocks of a run; one that fails does not keep the others back."""
        spec = ctx.job.segment_spec
        wanted = Box.from_proto(spec.box)
        by_index = {block.index: block for block in ctx.blocks}

        def on_report(report: dict[str, Any]) -> None:
            if "part" in report:
                ctx.part(report["block"], report["part"])
            elif "error" in report:
                ctx.failed(by_index[report["block"]], report["error"])
            else:
                ctx.done(report["block"], skipped=report.get("skipped", False))

        parts = [
            (n, Box.from_proto(block.box).intersection(wanted)) for n, block in by_index.items()
        ]
        await self._calls.work(
            "segment:segment_blocks",
            on_report=on_report,
            cancelled=ctx.cancelled,
            dataset=spec.dataset,
            version=spec.version,
            volumes=segmentation.volume_names(spec),
            mask=spec.mask_volume,
            augmentation=spec.augmentation,
            three_orientations=spec.three_orientations,
            blocks=[(n, part) for n, part in parts if part is not None],
            forwards=self._calls.forwards,
        )


class EvaluateHandler:
    """Measurements of model versions."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def __call__(self, ctx: JobContext) -> jobs_pb2.JobResult:
        """Runs one attempt."""
        spec = ctx.job.evaluate_spec
        metrics, voxels, warnings = await self._calls.work(
            "evaluate:evaluate",
            on_report=lambda report: ctx.progress(**report),
            cancelled=ctx.cancelled,
            dataset=spec.dataset,
            version=spec.version,
            reference=spec.reference_volume,
            box=Box.from_proto(spec.box) if spec.HasField("box") else None,
            forwards=self._calls.forwards,
        )
        return jobs_pb2.JobResult(
            evaluate_result=jobs_pb2.EvaluateResult(metrics=metrics, voxels=voxels),
            warnings=warnings,
        )
