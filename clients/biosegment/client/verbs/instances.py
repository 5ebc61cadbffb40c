"""Instances: from a segmentation to numbered objects and a table of measurements."""

from collections.abc import Sequence
from typing import Literal

from biosegment.client import names
from biosegment.client.geometry import ZYX, shape_proto
from biosegment.client.verbs.base import (
    ARRAY_SECONDS,
    START_SECONDS,
    Verbs,
    is_segmentation,
    request_id,
)
from biosegment.v1 import instances_pb2, jobs_pb2

TableFormat = Literal["csv", "parquet"]

_FORMATS: dict[TableFormat, "instances_pb2.TableFormat.ValueType"] = {
    "csv": instances_pb2.TABLE_FORMAT_CSV,
    "parquet": instances_pb2.TABLE_FORMAT_PARQUET,
}


class InstanceVerbs(Verbs):
    """Instances of label volumes."""

    async def instances(
        self,
        source: str,
        *,
        volume: str | None = None,
        dataset: str | None = None,
        classes: Sequence[int] = (),
        connectivity: int = 26,
        min_voxels: int = 0,
        min_volume_um3: float = 0.0,
        fill_holes: bool = False,
        split_nm: float = 0.0,
        block: ZYX | None = None,
    ) -> jobs_pb2.Job:
        """Starts to tell the instances of a label volume apart, to number and to measure them.

        Args:
            source: A segmentation (``liver/mito-1``), or a volume of class values.
            volume: The name of the instance volume to make: uint32, ids from 1 on; by default
                the source volume's with "-inst".
            dataset: Whose metadata go into the table; by default the one that the source belongs
                to.
            classes: The classes to look at; none means all.
            connectivity: Neighbours of a voxel: 6, 18 or 26.
            min_voxels: Smaller instances become background.
            min_volume_um3: The same in cubic micrometres; the larger of the two counts.
            fill_holes: Give enclosed background to the instance around it.
            split_nm: Cut instances at necks narrower than this, in nanometres; 0 cuts none.
            block: Extent of one block (z, y, x); None lets the service choose.

        Returns:
            The job; once it succeeded, ``result.instances_result`` names volume and tables.

        Raises:
            AlreadyExistsError: The name is taken.
            FailedPreconditionError: The source is not complete, or holds no class values.
            InvalidArgumentError: A number is out of its range.
            NotFoundError: There is no such source.
        """
        spec = jobs_pb2.InstancesSpec(
            volume=self.name(names.VOLUME, volume) if volume else "",
            dataset=self.name(names.DATASET, dataset) if dataset else "",
            classes=classes,
            connectivity=connectivity,
            min_voxels=min_voxels,
            min_volume_um3=min_volume_um3,
            fill_holes=fill_holes,
            split_nm=split_nm,
            block=shape_proto(block) if block else None,
        )
        if is_segmentation(source):
            spec.segmentation = self.name(names.SEGMENTATION, source)
        else:
            spec.source_volume = self.name(names.VOLUME, source)
        request = instances_pb2.StartInstancesRequest(
            parent=names.project_of(spec.segmentation or spec.source_volume),
            request_id=request_id(),
            spec=spec,
        )
        return (await self.stubs.instances.StartInstances(request, timeout=START_SECONDS)).job

    async def instance_table(self, volume: str, *, format: TableFormat = "csv") -> bytes:  # noqa: A002
        """The measurements of an instance volume, one row for each instance.

        Args:
            volume: The instance volume.
            format: "csv" or "parquet".

        Returns:
            The file's bytes.

        Raises:
            FailedPreconditionError: The volume is not complete.
            NotFoundError: There is no such volume, or it is no instance volume.
        """
        request = instances_pb2.ReadInstanceTableRequest(
            volume=self.name(names.VOLUME, volume), format=_FORMATS[format]
        )
        answers = self.stubs.instances.ReadInstanceTable(request, timeout=ARRAY_SECONDS)
        return b"".join([answer.data async for answer in answers])
