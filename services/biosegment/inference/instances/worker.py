"""Handlers of instances jobs: three phases of blocks, something global after each.

label → (nothing) → join → merge → number → tables and pyramid
"""

import uuid
from pathlib import Path
from typing import Any

from biosegment.client.errors import FailedPreconditionError
from biosegment.client.stubs import AsyncStubs
from biosegment.inference.instances import plan
from biosegment.inference.instances.recipe import Places, Recipe, places_of, recipe_of
from biosegment.runtime.child import Child
from biosegment.runtime.worker import BlockPlan, BlocksContext, JobContext
from biosegment.v1 import jobs_pb2, storage_pb2

_CHILD = "biosegment.inference.instances.child"
_PHASES = ("label_blocks", "join_blocks", "number_blocks")
_JOINED, _NUMBERED = 1, 2


async def _source(stubs: AsyncStubs, spec: jobs_pb2.InstancesSpec) -> storage_pb2.Volume:
    request = storage_pb2.GetVolumeRequest(name=spec.source_volume)
    return (await stubs.storage.GetVolume(request)).volume


class InstancesHandler:
    """What one worker does before, between and after the blocks."""

    def __init__(self, child: Child, connection: Path) -> None:
        self._child = child
        self._connection = str(connection)

    async def __call__(self, ctx: JobContext) -> jobs_pb2.JobResult | BlockPlan:
        """Does the part that is due."""
        spec = ctx.job.instances_spec
        source, places = await _source(ctx.stubs, spec), places_of(ctx.job.name, spec)
        recipe = recipe_of(spec, source)
        if ctx.job.stage != jobs_pb2.JOB_STAGE_FINISH:
            await self._make_volumes(ctx, places, source)
            return BlockPlan(plan.blocks(recipe))
        _check_whole(ctx.job)
        if ctx.job.blocks.phase == _NUMBERED:
            return await self._finish(ctx, places, recipe)
        if ctx.job.blocks.phase == _JOINED:
            await self._run(ctx, "whole:merge_all", places, recipe=recipe)
        return BlockPlan(plan.blocks(recipe))

    async def _run(self, ctx: JobContext, target: str, places: Places, **kwargs: Any) -> Any:
        return await ctx.run_child(
            self._child,
            f"{_CHILD}.{target}",
            connection=self._connection,
            places=places,
            **kwargs,
        )

    async def _make_volumes(
        self, ctx: JobContext, places: Places, source: storage_pb2.Volume
    ) -> None:
        for volume in plan.volumes(places, source):
            # The id comes from the job: another attempt finds the volumes that the first one made,
            # and no other job's volume is ever taken for one of them.
            request_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{ctx.job.name}/{volume.name}"))
            await ctx.stubs.storage.CreateVolume(
                storage_pb2.CreateVolumeRequest(request_id=request_id, volume=volume)
            )

    async def _finish(self, ctx: JobContext, places: Places, recipe: Recipe) -> jobs_pb2.JobResult:
        """Each step leaves alone what an attempt before has done."""
        spec, storage = ctx.job.instances_spec, ctx.stubs.storage
        note = await self._run(
            ctx,
            "whole:tabulate",
            places,
            recipe=recipe,
            dataset=spec.dataset,
            segmentation=spec.segmentation,
        )
        found = await storage.GetVolume(storage_pb2.GetVolumeRequest(name=places.volume))
        if found.volume.state != storage_pb2.VOLUME_STATE_READY:
            await self._run(ctx, "whole:fill_levels", places)
            await storage.FinishVolume(storage_pb2.FinishVolumeRequest(name=places.volume))
        await storage.DeleteVolume(storage_pb2.DeleteVolumeRequest(name=places.fragments))
        await self._run(ctx, "whole:clean", places)
        return jobs_pb2.JobResult(
            instances_result=jobs_pb2.InstancesResult(
                volume=places.volume,
                instances=note["instances"],
                dropped=note["dropped"],
                voxels=note["voxels"],
                table_parquet=places.parquet,
                table_csv=places.csv,
            )
        )


def _check_whole(job: jobs_pb2.Job) -> None:
    """An instance with a part missing is a wrong one: there is no partial success here.

    Raises:
        FailedPreconditionError: Blocks were given up.
    """
    if not job.blocks.quarantined:
        return
    first = job.partial_failures[0]
    raise FailedPreconditionError(
        f"{job.blocks.quarantined} of {job.blocks.total} blocks failed (block {first.block}: "
        f"{first.error.message}), and instances need them all. Try them again with: "
        f"biosegment job retry {job.name}",
        name=job.name,
    )


class InstanceBlocksHandler:
    """Runs of blocks of each phase."""

    def __init__(self, child: Child, connection: Path) -> None:
        self._child = child
        self._connection = str(connection)

    async def __call__(self, ctx: BlocksContext) -> None:
        """Works on the blocks of a run; one that fails does not keep the others back."""
        spec = ctx.job.instances_spec
        by_index = {block.index: block for block in ctx.blocks}

        def on_report(report: dict[str, Any]) -> None:
            if "error" in report:
                ctx.failed(by_index[report["block"]], report["error"])
            else:
                ctx.done(report["block"])

        await self._child.run(
            f"{_CHILD}.blocks:{_PHASES[ctx.job.blocks.phase]}",
            on_report=on_report,
            cancelled=ctx.cancelled,
            connection=self._connection,
            places=places_of(ctx.job.name, spec),
            recipe=recipe_of(spec, await _source(ctx.stubs, spec)),
            blocks=list(by_index),
        )
