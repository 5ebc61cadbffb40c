"""Whether data look like those that a model version learnt from, and what to say if not."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from biosegment.client import arrays
from biosegment.nets.intensity import on_unit_scale, spread
from biosegment.v1 import storage_pb2, types_pb2

# How far a quantile may lie from where a linear map puts it, in parts of the spread. Parts of one
# stack were seen to be 0.11 apart, VNC and EPFL 0.13, VNC and its negative 0.15 to 0.21.
_UNLIKE = 0.2
# Beyond this, inverted contrast is told where it leaves less than a part of the distance.
_TURNED, _CLEARLY = 0.1, 0.3
_VOXEL_RATIO = 1.5


def remarks(
    version: str,
    reference: types_pb2.InputReference,
    dataset: str,
    raw: storage_pb2.Volume,
) -> list[str]:
    """Sentences for whoever applies a version to data that it may not know again.

    Args:
        version: Its name.
        reference: What raw data look like to it.
        dataset: Name of the data set that it is applied to.
        raw: The raw volume; one that was never measured is not compared.
    """
    made = []
    if raw.HasField("grey"):
        here = on_unit_scale(raw.grey, arrays.dtype_of(raw.data_type))
        made.append(_of_grey(version, reference, dataset, here))
    size, known = raw.voxel_size, reference.voxel_size
    pairs = [(size.z, known.z), (size.y, known.y), (size.x, known.x)]
    if any(a > 0 < b and max(a / b, b / a) > _VOXEL_RATIO for a, b in pairs):
        made.append(
            f"Voxels of {dataset} are {_nanometres(size)} (z, y, x), and {version} learnt from "
            f"{_nanometres(known)} ({reference.dataset}): it may not know again what is so much "
            "larger or smaller. Resample the data, or train on them."
        )
    return [sentence for sentence in made if sentence]


def unlike(found: Sequence[float], wanted: Sequence[float]) -> tuple[float, float]:
    """How badly a linear map explains quantiles: with the contrast as it is, and inverted.

    Args:
        found: Quantiles of the volume.
        wanted: Those of the data, as many.

    Returns:
        Largest distances between quantiles once both ends are the same, in parts of the spread.
    """
    here, there = (_shape(np.asarray(values)) for values in (found, wanted))
    turned = _shape(-np.asarray(found)[::-1])
    return float(np.abs(here - there).max()), float(np.abs(turned - there).max())


def _of_grey(
    version: str,
    reference: types_pb2.InputReference,
    dataset: str,
    here: types_pb2.GreyStatistics,
) -> str:
    """What to say of grey values; empty for nothing."""
    if spread(here) <= 0.0:
        return (
            f"{dataset} shows hardly any contrast: there is nothing in it to tell classes apart by."
        )
    if spread(reference.grey) <= 0.0:
        return ""
    straight, inverted = unlike(here.quantiles, reference.grey.quantiles)
    if straight > _TURNED and inverted < _CLEARLY * straight:
        return (
            f"The contrast of {dataset} seems inverted beside the data that {version} learnt from "
            f"({reference.dataset}): what is dark there is bright here. Import it again with its "
            "grey values inverted."
        )
    if straight > _UNLIKE:
        return (
            f"The grey values of {dataset} are distributed otherwise than those that {version} "
            f"learnt from ({reference.dataset}), and brightness and contrast do not explain it. "
            "Look at a prediction before you rely on it, or train on these data."
        )
    return ""


def _shape(quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantiles with 5 in a hundred at 0 and 95 at 1; those beyond are too few to say much."""
    inner = quantiles[1:-1]
    made: NDArray[np.float64] = (inner - inner[0]) / (inner[-1] - inner[0])
    return made


def _nanometres(size: types_pb2.VoxelSize) -> str:
    return f"{size.z:g} × {size.y:g} × {size.x:g} nm"
