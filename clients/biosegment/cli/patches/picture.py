"""Voxels as pictures for the eye: contrast by robust quantiles, frames, colours of classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.arrays import NOT_LABELLED
from biosegment.client.geometry import Box

_LOW, _HIGH = 0.005, 0.995
# So much of one value is padding, not tissue.
_PADDING = 0.2
_MOST_SAMPLES = 1 << 20
_UNPAINTED = "#808080"


def limits(raw: NDArray[Any]) -> tuple[float, float]:
    """The values that are shown black and white, padding left out.

    Args:
        raw: Voxels, any shape and type.
    """
    values = raw.reshape(-1)
    values = values[:: max(1, values.size // _MOST_SAMPLES)].astype(np.float64)
    values = values[np.isfinite(values)]
    for edge in (values.min(initial=0), values.max(initial=0)):
        inner = values[values != edge]
        if inner.size and inner.size < (1 - _PADDING) * values.size:
            values = inner
    if not values.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.quantile(values, (_LOW, _HIGH)))
    return (low, high) if high > low else (low, low + 1.0)


def grey(raw: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Voxels as greys from 0 to 255, uint8, of the same shape."""
    scaled = (raw.astype(np.float64) - low) * (255 / (high - low))
    return np.nan_to_num(scaled).clip(0, 255).round().astype(np.uint8)


def framed(picture: NDArray[np.uint8], inner: Box) -> NDArray[np.uint8]:
    """The picture with a frame just around a box of it, in every section.

    Args:
        picture: uint8, axes ZYX.
        inner: In voxels of the picture.
    """
    made = picture.copy()
    (_, y0, x0), (_, y1, x1) = inner.start, inner.stop
    rows, columns = made.shape[1:]
    for value, gap in ((0, 2), (255, 1)):
        top, bottom, left, right = y0 - gap, y1 - 1 + gap, x0 - gap, x1 - 1 + gap
        across = slice(max(0, left), min(columns, right + 1))
        down = slice(max(0, top), min(rows, bottom + 1))
        for row in (top, bottom):
            if 0 <= row < rows:
                made[:, row, across] = value
        for column in (left, right):
            if 0 <= column < columns:
                made[:, down, column] = value
    return made


def palette(colors: Mapping[int, str]) -> NDArray[np.uint16]:
    """A colour map of TIFF, uint16, (3, 256): classes in their colours, not labelled in grey.

    Args:
        colors: #rrggbb by class value.
    """
    ramp = np.arange(256, dtype=np.uint16) * 257
    made = np.stack([ramp, ramp, ramp])
    for value, color in {**colors, NOT_LABELLED: _UNPAINTED}.items():
        made[:, value] = [int(color[n : n + 2], 16) * 257 for n in (1, 3, 5)]
    return made


def shown(array: NDArray[Any], colors: Mapping[int, str] | None) -> NDArray[np.uint8]:
    """One section as a picture, uint8: greys (YX), or colours (YX, 3) for labels.

    Args:
        array: Axes ZYX of one section; of channels (CZYX) the first is shown.
        colors: #rrggbb by class value; None for images.
    """
    section = array[(0,) * (array.ndim - 2)]
    if colors is None or section.dtype != np.uint8:
        return grey(section, *limits(section))
    table = (palette(colors).T >> 8).astype(np.uint8)
    made: NDArray[np.uint8] = table[section]
    return made
