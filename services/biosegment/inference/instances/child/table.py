"""The table of measurements, in physical units and joined with the data set's metadata."""

import io
import json
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from biosegment.client.geometry import ZYX
from biosegment.inference.instances.child.measure import Pieces
from biosegment.inference.instances.child.surface import areas_per_crossing

_NOTE = b"biosegment"


def columns(
    whole: Pieces,
    classes: NDArray[np.uint8],
    class_names: dict[int, str],
    voxel_size: tuple[float, float, float],
    shape: ZYX,
) -> dict[str, NDArray[Any] | list[str]]:
    """The measurements by column; ``docs/instances.md`` describes each.

    Args:
        whole: The sums over all blocks.
        classes: By instance its class value.
        class_names: For people, by class value.
        voxel_size: In nanometres, (z, y, x).
        shape: Extent of the volume.
    """
    volume = whole.voxels * prod(voxel_size) * 1e-9
    surface = whole.crossings @ areas_per_crossing(voxel_size) * 1e-6
    centroids = whole.sums / whole.voxels[:, None]
    made: dict[str, NDArray[Any] | list[str]] = {
        "id": whole.ids,
        "class": classes,
        "class_name": [class_names.get(value, "") for value in classes.tolist()],
        "voxels": whole.voxels,
        "volume_um3": volume,
        "surface_um2": surface,
        "sphericity": np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / surface,
        "touches_border": _touches(whole, shape),
    }
    for n, axis in enumerate("zyx"):
        made[f"centroid_{axis}"] = centroids[:, n]
    for n, axis in enumerate("zyx"):
        made[f"centroid_{axis}_um"] = centroids[:, n] * (voxel_size[n] * 1e-3)
    for n, axis in enumerate("zyx"):
        made[f"{axis}_start"], made[f"{axis}_stop"] = whole.starts[:, n], whole.stops[:, n]
    return made


def _touches(whole: Pieces, shape: ZYX) -> NDArray[np.bool_]:
    thick = np.array(shape) > 1
    at_border = (whole.starts == 0) | (whole.stops == np.array(shape))
    found: NDArray[np.bool_] = (at_border & thick).any(axis=1)
    return found


def table(
    measured: dict[str, NDArray[Any] | list[str]],
    facts: dict[str, str | float],
    note: dict[str, Any],
) -> pa.Table:
    """The table.

    Args:
        measured: The columns.
        facts: Of the data set; each becomes a column that is the same in every row, so that
            tables of several data sets can be put together.
        note: What the Parquet file says about itself.
    """
    made = pa.table(measured)
    for name, value in facts.items():
        if isinstance(value, str):
            indices = pa.array(np.zeros(made.num_rows, np.int32))
            column: Any = pa.DictionaryArray.from_arrays(indices, pa.array([value]))
        else:
            column = pa.array(np.full(made.num_rows, value))
        made = made.append_column(name, column)
    return made.replace_schema_metadata({_NOTE: json.dumps(note, sort_keys=True).encode()})


def to_csv(made: pa.Table) -> bytes:
    """The table as UTF-8 CSV with a line of names."""
    sink = io.BytesIO()
    pyarrow.csv.write_csv(made, sink)
    return sink.getvalue()


def to_parquet(made: pa.Table) -> bytes:
    """The table as Parquet, with its note."""
    sink = io.BytesIO()
    pyarrow.parquet.write_table(made, sink, compression="zstd")
    return sink.getvalue()


def note_of(parquet: bytes) -> dict[str, Any]:
    """What a Parquet file of ``to_parquet`` says about itself; empty for another file."""
    metadata = pyarrow.parquet.read_schema(pa.BufferReader(parquet)).metadata or {}
    found: dict[str, Any] = json.loads(metadata.get(_NOTE, b"{}"))
    return found
