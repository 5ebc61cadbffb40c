"""How instances are told apart: the spec as plain values, for the child process."""

from dataclasses import dataclass
from math import ceil, prod

from biosegment.client import names
from biosegment.client.geometry import ZYX, BlockGrid, Box, shape_of
from biosegment.v1 import jobs_pb2, storage_pb2

CONNECTIVITY = 26
"""Neighbours of a voxel, unless told otherwise."""
NO_CLASS = (0, 254, 255)
"""Values of a label volume that are never a class to look at: background, cleared, not labelled."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How instances are told apart.

    Attributes:
        grid: The blocks.
        voxel_size: In nanometres, (z, y, x).
        classes: Class values to look at.
        connectivity: 6, 18 or 26.
        min_voxels: Smaller instances become background.
        fill_holes: Whether enclosed background goes to an instance.
        split_nm: Necks narrower than this are cut; 0 means none.
    """

    grid: BlockGrid
    voxel_size: tuple[float, float, float]
    classes: tuple[int, ...]
    connectivity: int = CONNECTIVITY
    min_voxels: int = 1
    fill_holes: bool = False
    split_nm: float = 0.0

    @property
    def shape(self) -> ZYX:
        """Extent of the volume in voxels, (z, y, x)."""
        return self.grid.box.stop


@dataclass(frozen=True, slots=True)
class Places:
    """Where a job finds and leaves things.

    Attributes:
        job: The job.
        source: The label volume.
        fragments: The volume of block-local ids, gone when the job has ended.
        volume: The instance volume.
        parts: What the names of the intermediate objects begin with; gone as well.
        parquet: Object name of the table.
        csv: Object name of the table as CSV.
    """

    job: str
    source: str
    fragments: str
    volume: str
    parts: str
    parquet: str
    csv: str


def tables_of(volume: str) -> tuple[str, str]:
    """Object names of an instance volume's table: Parquet, CSV."""
    project, identity = names.parse(names.VOLUME, volume)
    folder = f"{names.PROJECT.format(project)}/objects/instances/{identity}"
    return f"{folder}/table.parquet", f"{folder}/table.csv"


def places_of(job: str, spec: jobs_pb2.InstancesSpec) -> Places:
    """Where a job finds and leaves things.

    Raises:
        InvalidArgumentError: The output's name is too long, or no name.
    """
    project, identity = names.parse(names.VOLUME, spec.volume)
    fragments = names.check_id(f"{identity}-fragments", "volume of intermediate results")
    parquet, csv = tables_of(spec.volume)
    return Places(
        job=job,
        source=spec.source_volume,
        fragments=names.VOLUME.format(project, fragments),
        volume=spec.volume,
        parts=f"{parquet.rpartition('/')[0]}/{job.rpartition('/')[2]}",
        parquet=parquet,
        csv=csv,
    )


def recipe_of(spec: jobs_pb2.InstancesSpec, source: storage_pb2.Volume) -> Recipe:
    """The recipe of a planned job.

    Args:
        spec: With every default filled in.
        source: The label volume.
    """
    size = (source.voxel_size.z, source.voxel_size.y, source.voxel_size.x)
    cubic_micrometres = prod(size) * 1e-9
    # Without the small subtraction a limit of exactly n voxels could round up to n + 1.
    least = ceil(spec.min_volume_um3 / cubic_micrometres - 1e-6)
    return Recipe(
        grid=BlockGrid(Box.of_shape(shape_of(source.levels[0].shape)), shape_of(spec.block)),
        voxel_size=size,
        classes=tuple(spec.classes) or tuple(v for v in range(256) if v not in NO_CLASS),
        connectivity=spec.connectivity or CONNECTIVITY,
        min_voxels=max(1, spec.min_voxels, least),
        fill_holes=spec.fill_holes,
        split_nm=spec.split_nm,
    )
