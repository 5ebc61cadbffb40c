"""From a volume's description to what lies in the store, for both formats.

The description is kept as the attribute "biosegment" of the volume's group. What makes readers
outside the platform see an image (OME multiscales, N5 multiScale) is written with it only once
the volume is complete.
"""

import json
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format

from biosegment.client import arrays
from biosegment.client.errors import InternalError
from biosegment.client.geometry import shape_of
from biosegment.runtime import ome_zarr
from biosegment.storage.store import Place
from biosegment.v1 import storage_pb2

_N5_VERSION = "4.0.0"


@dataclass(frozen=True, slots=True)
class Entry:
    """What the store knows of a volume.

    Attributes:
        volume: Its description, without name and uri.
        request_id: The request that made it.
    """

    volume: storage_pb2.Volume
    request_id: str


def group_key(place: Place) -> str:
    """Key of the document that makes the volume exist."""
    zarr = place.format == storage_pb2.VOLUME_FORMAT_OME_ZARR
    return place.prefix + (ome_zarr.GROUP_KEY if zarr else "attributes.json")


def group_document(place: Place, entry: Entry) -> bytes:
    """The group's document."""
    volume = entry.volume
    ours = {
        "volume": json_format.MessageToDict(volume, preserving_proto_field_name=True),
        "request_id": entry.request_id,
    }
    ready = volume.state == storage_pb2.VOLUME_STATE_READY
    title = place.file_name.rpartition(".")[0]
    if place.format == storage_pb2.VOLUME_FORMAT_OME_ZARR:
        ome = {"ome": ome_zarr.multiscale_attributes(volume, title)} if ready else {}
        return ome_zarr.group_document({**ome, "biosegment": ours})
    multiscale = _n5_multiscale(volume, title) if ready else {}
    return json.dumps({"n5": _N5_VERSION, **multiscale, "biosegment": ours}, indent=2).encode()


def read_document(place: Place, document: bytes) -> Entry:
    """The reverse of group_document.

    Raises:
        InternalError: Something else wrote the document, or damaged it.
    """
    try:
        content = json.loads(document)
        zarr = place.format == storage_pb2.VOLUME_FORMAT_OME_ZARR
        ours = (content["attributes"] if zarr else content)["biosegment"]
        volume = json_format.ParseDict(ours["volume"], storage_pb2.Volume())
        return Entry(volume, str(ours["request_id"]))
    except (ValueError, KeyError, TypeError, json_format.ParseError) as error:
        raise InternalError(
            f"The metadata of {place.volume_name} in the store is damaged: {error}.",
            name=place.volume_name,
        ) from None


def create_spec(kvstore: dict[str, Any], volume: storage_pb2.Volume, level: int) -> dict[str, Any]:
    """Tensorstore spec that makes an empty level."""
    if volume.format == storage_pb2.VOLUME_FORMAT_OME_ZARR:
        return ome_zarr.array_spec(kvstore, volume, level)
    described = volume.levels[level]
    channels, ones = ([volume.channels], [1]) if volume.channels else ([], [])
    return {
        "driver": "n5",
        "kvstore": kvstore,
        "metadata": {
            "dimensions": [*shape_of(described.shape)[::-1], *channels],
            "blockSize": [*shape_of(described.chunk)[::-1], *ones],
            "dataType": arrays.dtype_of(volume.data_type).name,
            "compression": {"type": "gzip"},
            "axes": ["x", "y", "z", *["c" for _ in channels]],
        },
    }


def open_spec(kvstore: dict[str, Any], volume: storage_pb2.Volume, level: int) -> dict[str, Any]:
    """Tensorstore spec that opens a level with axes ZYX or CZYX, whatever the format."""
    if volume.format == storage_pb2.VOLUME_FORMAT_OME_ZARR:
        return {"driver": "zarr3", "kvstore": kvstore}
    lead, labels = ([volume.channels], ["c"]) if volume.channels else ([], [])
    shape = [*lead, *shape_of(volume.levels[level].shape)]
    transform = {
        "input_labels": [*labels, "z", "y", "x"],
        "input_inclusive_min": [0] * len(shape),
        "input_exclusive_max": shape,
        "output": [{"input_dimension": axis} for axis in reversed(range(len(shape)))],
    }
    return {"driver": "n5", "kvstore": kvstore, "transform": transform}


def finished_level(volume: storage_pb2.Volume, level: int, document: bytes) -> bytes:
    """The attributes.json of an N5 level with what makes readers see it as part of a pyramid.

    Args:
        volume: The volume.
        level: Which level.
        document: The level's attributes.json as it is.
    """
    ones = [1] if volume.channels else []
    # Readers multiply the full-resolution size by the factors.
    extra = {
        "downsamplingFactors": [*shape_of(volume.levels[level].downsampling)[::-1], *ones],
        "pixelResolution": {"unit": "nm", "dimensions": [*_xyz(volume), *ones]},
    }
    return json.dumps({**json.loads(document), **extra}).encode()


def _xyz(volume: storage_pb2.Volume) -> tuple[float, float, float]:
    return volume.voxel_size.x, volume.voxel_size.y, volume.voxel_size.z


def _n5_multiscale(volume: storage_pb2.Volume, title: str) -> dict[str, Any]:
    """Group attributes of a multiscale N5, as Paintera and the BigDataViewer N5 viewer read them.

    https://github.com/saalfeldlab/n5-viewer#container-structure
    """
    return {
        "name": title,
        "multiScale": True,
        "resolution": list(_xyz(volume)),
        "offset": [0.0, 0.0, 0.0],
        "pixelResolution": {"unit": "nm", "dimensions": list(_xyz(volume))},
        "scales": [list(shape_of(level.downsampling)[::-1]) for level in volume.levels],
        "axes": ["x", "y", "z"],
        "units": ["nm", "nm", "nm"],
    }
