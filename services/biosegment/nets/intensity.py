"""Raw voxels to network input: the same fixed rule in training and inference. Free of torch.

The scale depends on the element type, and on how the volume's grey values lie beside those that
the network learnt from: constants of a volume, never of the voxels at hand, so that a tile gets the
same input whatever lies around it. Mean and standard deviation of the training data are constants
of the weights (see ``network.Network``).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.errors import FailedPreconditionError
from biosegment.v1 import types_pb2

_SCALES = {
    np.dtype(np.uint8): 255.0,
    np.dtype(np.uint16): 65535.0,
    np.dtype(np.int8): 127.0,
    np.dtype(np.int16): 32767.0,
}
# Of the quantiles of ``GreyStatistics``: 5 and 95 in a hundred.
_LOW, _HIGH = 1, 5
# So close, in parts of the spread, two volumes of one microscope are taken to be stored alike.
# Training varies contrast and brightness three times as much.
_ALIKE = 0.05


@dataclass(frozen=True, slots=True)
class GreyMap:
    """What puts the grey values of one volume on the scale of the data that a network learnt from.

    Attributes:
        scale: Of values on the unit scale.
        shift: Added to them afterwards.
    """

    scale: float = 1.0
    shift: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether nothing is changed."""
        return self == AS_IT_IS


AS_IT_IS = GreyMap()


def check_dtype(dtype: np.dtype[Any], what: str) -> None:
    """Accepts what networks can be fed.

    Args:
        dtype: Element type of a raw volume.
        what: What to call the volume in the error.

    Raises:
        FailedPreconditionError: The type is none of 8 or 16 bit, nor float32.
    """
    if dtype.newbyteorder("=") not in (*_SCALES, np.dtype(np.float32)):
        raise FailedPreconditionError(
            f"Networks take raw data of int8, int16, uint8, uint16 or float32; {what} holds "
            f"{dtype}. Import it again in one of these types."
        )


def unit_scale(raw: NDArray[Any], grey: GreyMap = AS_IT_IS) -> NDArray[np.float32]:
    """Raw voxels as float32.

    Args:
        raw: Any shape; uint8 is divided by 255, uint16 by 65535, int8 by 127, int16 by 32767, and
            float32 is taken as it is. NaN and infinities come out as 0.
        grey: Applied to that.

    Raises:
        FailedPreconditionError: Another element type.
    """
    factor, shift = factors(raw.dtype, grey)
    made: NDArray[np.float32] = raw.astype(np.float32)
    if factor != 1.0:
        made *= np.float32(factor)
    if shift:
        made += np.float32(shift)
    if raw.dtype.kind == "f":
        np.nan_to_num(made, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return made


def factors(dtype: np.dtype[Any], grey: GreyMap = AS_IT_IS) -> tuple[float, float]:
    """What raw voxels of a type are multiplied by, and what is then added.

    Raises:
        FailedPreconditionError: The type is none that networks take.
    """
    check_dtype(dtype, "the array")
    scale = _SCALES.get(dtype.newbyteorder("="))
    return grey.scale if scale is None else grey.scale / scale, grey.shift


def on_unit_scale(grey: types_pb2.GreyStatistics, dtype: np.dtype[Any]) -> types_pb2.GreyStatistics:
    """The grey values of a volume as ``unit_scale`` has them.

    Args:
        grey: Of raw voxels.
        dtype: Their type.

    Raises:
        FailedPreconditionError: The type is none that networks take.
    """
    made = types_pb2.GreyStatistics()
    made.CopyFrom(grey)
    factor, _ = factors(dtype)
    made.quantiles[:] = [value * factor for value in grey.quantiles]
    return made


def spread(grey: types_pb2.GreyStatistics) -> float:
    """From the darkest to the brightest but for 5 in a hundred at either end; 0 if unknown."""
    return grey.quantiles[_HIGH] - grey.quantiles[_LOW] if grey.quantiles else 0.0


def grey_map(found: types_pb2.GreyStatistics, wanted: types_pb2.GreyStatistics) -> GreyMap:
    """What makes a volume look like the data that a network learnt from.

    It takes the quantiles of 5 and 95 in a hundred to where the network knows them. Those depend
    less than the median on how much of the picture is empty resin.

    Args:
        found: Of the volume, on the unit scale.
        wanted: Of the data, on the unit scale.

    Returns:
        ``AS_IT_IS`` where both are stored alike, or one of them is not known or has no contrast.
    """
    if spread(found) <= 0.0 or spread(wanted) <= 0.0:
        return AS_IT_IS
    limit = _ALIKE * spread(wanted)
    apart = (abs(found.quantiles[n] - wanted.quantiles[n]) for n in (_LOW, _HIGH))
    if max(apart) <= limit:
        return AS_IT_IS
    scale = spread(wanted) / spread(found)
    return GreyMap(scale, wanted.quantiles[_LOW] - found.quantiles[_LOW] * scale)
