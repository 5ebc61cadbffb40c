"""Volumes with labels, cut into a part to train on and a part to evaluate on."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError
from biosegment.client.geometry import ZYX, Box

PHANTOM = "phantom"
_PHANTOM_SHAPE: ZYX = (12, 1024, 1024)
_LABELS = "mito"


@dataclass(frozen=True, slots=True)
class Part:
    """A labelled volume. Arrays have axes ZYX.

    Attributes:
        raw: Raw voxels.
        labels: Class values, uint8.
    """

    raw: NDArray[Any]
    labels: NDArray[np.uint8]

    @property
    def shape(self) -> ZYX:
        """Extent in voxels, (z, y, x)."""
        z, y, x = self.raw.shape
        return z, y, x

    def read_raw(self, box: Box) -> NDArray[Any]:
        """Raw voxels of a box."""
        return self.raw[box.slices]

    def read_labels(self, box: Box) -> NDArray[np.uint8]:
        """Class values of a box."""
        return self.labels[box.slices]

    def rows(self, start: int, stop: int) -> "Part":
        """The part of it between two y."""
        return Part(self.raw[:, start:stop], self.labels[:, start:stop])

    def columns(self, start: int, stop: int) -> "Part":
        """The part of it between two x."""
        return Part(self.raw[:, :, start:stop], self.labels[:, :, start:stop])


@dataclass(frozen=True, slots=True)
class Data:
    """What a bench runs on.

    Attributes:
        name: As people write it.
        train: Where patches are taken from.
        test: Where the segmentation is evaluated.
    """

    name: str
    train: Part
    test: Part

    @property
    def classes(self) -> tuple[int, ...]:
        """Class values of the training part, background first."""
        return tuple(int(value) for value in np.unique(self.train.labels))


def load(name: str, binning: int, *, tune: bool = False, root: Path | None = None) -> Data:
    """Loads data and cuts them in half along y: the first to train on, the second to evaluate on.

    Args:
        name: A folder of the root with raw.tif and mito.tif, "folder:labels" for other labels
            (labels.tif), or "phantom".
        binning: In-plane binning.
        tune: Leave the second half alone, and evaluate on the last third of the first's x: for
            choosing settings.
        root: Where the folders are; without one DATA_ROOT of the environment says it.

    Raises:
        FailedPreconditionError: A file is missing.
        InvalidArgumentError: Raw and labels differ in extent, or nothing is labelled.
    """
    whole = binned(_phantom() if name == PHANTOM else _read(name, root or data_root()), binning)
    _, height, width = whole.shape
    half, cut = height // 2, width * 2 // 3
    train = whole.rows(0, half)
    made = (
        Data(f"{name}-tune", train.columns(0, cut), train.columns(cut, width))
        if tune
        else Data(name, train, whole.rows(half, height))
    )
    if len(made.classes) < 2:
        raise InvalidArgumentError(f"The labels of {name} hold one class only; nothing to learn.")
    return made


def data_root() -> Path:
    """The folder of DATA_ROOT; without it, shared/data beside the checkout."""
    given = os.environ.get("DATA_ROOT")
    checkout = Path(__file__).resolve().parents[2]
    return Path(given) if given else checkout.parent / "shared" / "data"


def binned(part: Part, factor: int) -> Part:
    """A part with in-plane voxels put together: means of raw voxels, majorities of labels.

    Rows and columns that do not fill a voxel are left out; the lower class value wins a draw.
    """
    if factor == 1:
        return part
    depth, height, width = part.shape
    rows, columns = height // factor, width // factor
    blocks = (depth, rows, factor, columns, factor)
    cut = np.s_[:, : rows * factor, : columns * factor]
    raw = part.raw[cut].reshape(blocks).mean(axis=(2, 4), dtype=np.float64)
    if np.issubdtype(part.raw.dtype, np.integer):
        raw = raw.round()
    labels = part.labels[cut].reshape(blocks)
    values = np.unique(part.labels)
    votes = np.stack([(labels == value).sum(axis=(2, 4)) for value in values])
    return Part(raw.astype(part.raw.dtype), values[votes.argmax(axis=0)].astype(np.uint8))


def _phantom() -> Part:
    from biosegment.phantom import Generator

    made = Generator(_PHANTOM_SHAPE).box(Box.of_shape(_PHANTOM_SHAPE))
    return Part(made.raw, made.labels)


def _read(name: str, root: Path) -> Part:
    import tifffile

    folder, _, labels = name.partition(":")
    paths = [root / folder / "raw.tif", root / folder / f"{labels or _LABELS}.tif"]
    for path in paths:
        if not path.is_file():
            raise FailedPreconditionError(
                f"There is no {path}; set DATA_ROOT to the folder that holds {folder}/, or take "
                f"DATA={PHANTOM}, which needs no files."
            )
    raw, values = (np.atleast_3d(tifffile.imread(path)) for path in paths)
    if raw.shape != values.shape or raw.ndim != 3:
        raise InvalidArgumentError(
            f"{paths[0]} has extent {raw.shape} and {paths[1]} {values.shape}; both must have the "
            "same three axes (z, y, x)."
        )
    return Part(raw, values.astype(np.uint8))
