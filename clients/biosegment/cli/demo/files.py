"""The two TIFF files that the demo starts from."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.cli.demo.plan import NM, Plan
from biosegment.client.errors import InvalidArgumentError, NotFoundError

PHANTOM_VOXEL: NM = (40.0, 8.0, 8.0)
_SLAB = 4


@dataclass(frozen=True, slots=True)
class Files:
    """What is imported.

    Attributes:
        image: The raw stack.
        labels: 1 where the class is, 0 elsewhere.
        voxel_size: Nanometres, (z, y, x); None means as the image says.
    """

    image: Path
    labels: Path
    voxel_size: NM | None


def prepare(plan: Plan) -> Files:
    """Makes a phantom, or reduces the given labels to the one class.

    Raises:
        NotFoundError: A given file does not exist.
        InvalidArgumentError: The labels cannot be read, or do not hold the class.
    """
    folder = plan.out / "data"
    if plan.image is None or plan.labels is None:
        return _phantom(plan, folder)
    for path in (plan.image, plan.labels):
        if not path.exists():
            raise NotFoundError(f"There is no file {path}.", path=path)
    target = folder / "labels.tif"
    _binary(plan.labels, target, plan.class_value)
    return Files(plan.image, target, plan.voxel_size)


def _phantom(plan: Plan, folder: Path) -> Files:
    from tifffile import memmap

    from biosegment.phantom import Generator

    generator = Generator(plan.phantom_shape, plan.voxel_size or PHANTOM_VOXEL, plan.seed)
    size = generator.voxel_size
    options: dict[str, Any] = {
        "shape": generator.shape,
        "dtype": np.uint8,
        "imagej": True,
        "resolution": (1000 / size[2], 1000 / size[1]),
        "metadata": {"axes": "ZYX", "spacing": size[0] / 1000, "unit": "um"},
    }
    image, labels = folder / "image.tif", folder / "labels.tif"
    raw, truth = memmap(image, **options), memmap(labels, **options)
    for box, part in generator.slabs(_SLAB):
        raw[box.slices], truth[box.slices] = part.raw, part.labels
    raw.flush()
    truth.flush()
    return Files(image, labels, size)


def _binary(source: Path, target: Path, value: int | None) -> None:
    """Writes 1 where the labels are the class, section by section."""
    import tifffile

    try:
        with tifffile.TiffFile(source) as tiff:
            series = tiff.series[0]
            shape = (1, *series.shape)[-3:]
            if series.ndim not in (2, 3) or series.dtype.kind not in "biu":
                raise InvalidArgumentError(
                    f"{source} has shape {series.shape} of {series.dtype}; labels are whole "
                    "numbers with axes ZYX.",
                    path=source,
                )
            found = 0
            with tifffile.TiffWriter(target, bigtiff=True) as writer:
                for section in _sections(series):
                    mask = (section != 0 if value is None else section == value).astype(np.uint8)
                    found += int(mask.sum())
                    writer.write(mask, contiguous=False, compression="zlib", metadata=None)
    except (OSError, ValueError, IndexError, tifffile.TiffFileError) as error:
        raise InvalidArgumentError(
            f"{source} cannot be read as a TIFF stack: {error}.", path=source
        ) from None
    if not 0 < found < np.prod(shape):
        what = "no or nothing but the class" if value is None else f"no or nothing but {value}"
        raise InvalidArgumentError(
            f"{source} holds {what}; name the class's value with --class-value.", path=source
        )


def _sections(series: Any) -> Iterator[NDArray[Any]]:
    depth = series.shape[0] if series.ndim == 3 else 1
    if len(series.pages) == depth:
        for page in series.pages:
            yield page.asarray()
    else:
        # ImageJ keeps a large stack behind one page; mapped, not read.
        yield from series.asarray(out="memmap").reshape(depth, *series.shape[-2:])
