"""Raw voxels to network input: the same fixed rule in training and inference. Free of torch.

The scale depends on the element type alone, never on the voxels at hand, so that a
tile gets the same input whatever lies around it. Mean and standard deviation of the
training data are constants of the weights (see ``network.Network``).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.errors import FailedPreconditionError

_SCALES = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}


def check_dtype(dtype: np.dtype[Any], what: str) -> None:
    """Accepts what networks can be fed.

    Args:
        dtype: Element type of a raw volume.
        what: What to call the volume in the error.

    Raises:
        FailedPreconditionError: The type is not uint8, uint16 or float32.
    """
    if dtype.newbyteorder("=") not in (*_SCALES, np.dtype(np.float32)):
        raise FailedPreconditionError(
            f"Networks take raw data of uint8, uint16 or float32; {what} holds {dtype}. Import it "
            "again in one of these types."
        )


def unit_scale(raw: NDArray[Any]) -> NDArray[np.float32]:
    """Raw voxels as float32.

    Args:
        raw: Any shape; uint8 is divided by 255, uint16 by 65535, float32 is taken as it is with
            NaN and infinities as 0.

    Raises:
        FailedPreconditionError: Another element type.
    """
    check_dtype(raw.dtype, "the array")
    scale = _SCALES.get(raw.dtype.newbyteorder("="))
    if scale is None:
        return np.nan_to_num(raw.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return raw.astype(np.float32) * np.float32(1.0 / scale)
