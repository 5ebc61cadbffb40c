"""OME-Zarr 0.5 as the platform writes it: Zarr 3, sharded, zstd.

https://ngff.openmicroscopy.org/0.5/
"""

import json
from typing import Any

from biosegment.client import arrays
from biosegment.client.geometry import shape_of
from biosegment.v1 import storage_pb2

GROUP_KEY = "zarr.json"
"""Key of the group's metadata below the volume."""


def array_spec(kvstore: dict[str, Any], volume: storage_pb2.Volume, level: int) -> dict[str, Any]:
    """Tensorstore spec that creates one level.

    Args:
        kvstore: Spec of the level's own place, with a path that ends in "/".
        volume: The volume, with every level described.
        level: Which one.
    """
    described = volume.levels[level]
    lead, names = ([volume.channels], ["c"]) if volume.channels else ([], [])
    ones = [1] * len(lead)
    inner = [{"name": "bytes", "configuration": {"endian": "little"}}]
    sharding = {
        "chunk_shape": [*ones, *shape_of(described.chunk)],
        "codecs": [*inner, {"name": "zstd", "configuration": {"level": 3}}],
        "index_codecs": [*inner, {"name": "crc32c"}],
    }
    unit = [*ones, *shape_of(described.write_unit)]
    return {
        "driver": "zarr3",
        "kvstore": kvstore,
        "metadata": {
            "shape": [*lead, *shape_of(described.shape)],
            "data_type": arrays.dtype_of(volume.data_type).name,
            "dimension_names": [*names, "z", "y", "x"],
            "fill_value": volume.fill_value,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": unit}},
            "chunk_key_encoding": {"name": "default"},
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        },
    }


def group_document(attributes: dict[str, Any]) -> bytes:
    """The zarr.json of a group."""
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    return json.dumps(document, indent=2).encode()


def multiscale_attributes(volume: storage_pb2.Volume, name: str) -> dict[str, Any]:
    """The "ome" attribute of a complete volume.

    Each level has a scale in nanometres and the translation of its first voxel's centre: a voxel
    that stands for f voxels begins at the same corner, so its centre is (f - 1) / 2 voxels on.

    Args:
        volume: The volume.
        name: What viewers call it.
    """
    size = (volume.voxel_size.z, volume.voxel_size.y, volume.voxel_size.x)
    lead: list[dict[str, str]] = [{"name": "c", "type": "channel"}] if volume.channels else []
    labels = volume.kind == storage_pb2.VOLUME_KIND_LABELS
    datasets = []
    for n, level in enumerate(volume.levels):
        factors = shape_of(level.downsampling)
        scale = [v * f for v, f in zip(size, factors, strict=True)]
        shift = [v * (f - 1) / 2 for v, f in zip(size, factors, strict=True)]
        transforms = [
            {"type": "scale", "scale": [*[1.0] * len(lead), *scale]},
            {"type": "translation", "translation": [*[0.0] * len(lead), *shift]},
        ]
        datasets.append({"path": str(n), "coordinateTransformations": transforms})
    space = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    multiscale = {
        "name": name,
        "axes": [*lead, *space],
        "datasets": datasets,
        "type": "mode" if labels else "mean",
    }
    ome: dict[str, Any] = {"version": "0.5", "multiscales": [multiscale]}
    if labels:
        ome["image-label"] = {}
    return ome
