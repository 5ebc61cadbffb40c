"""Small arrays in files (.npy, and .tif where tifffile is installed), and where tables go."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from biosegment.client.errors import (
    AlreadyExistsError,
    DomainError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TIFF = (".tif", ".tiff")


def load_mask(path: Path) -> "NDArray[Any]":
    """An array with axes ZYX; a two-dimensional one is read as a single section.

    Raises:
        NotFoundError: There is no such file.
        InvalidArgumentError: It is no array of two or three axes.
    """
    array = _load(path)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.size == 0:
        raise InvalidArgumentError(
            f"{path} has shape {array.shape}; a mask has axes ZYX, or YX for one section.",
            path=path,
        )
    return array


def check_target(path: Path, *, png: bool = False) -> None:
    """Checks where an array is to go before it is computed; a .png is a picture of it.

    Raises:
        AlreadyExistsError: The file exists.
        InvalidArgumentError: The format is neither .npy nor .tif.
        NotFoundError: Its folder does not exist.
    """
    if not (png and path.suffix.lower() == ".png"):
        _check_suffix(path)
    _check_free(path)


def check_table(path: Path) -> Literal["csv", "parquet"]:
    """Checks where a table is to go before it is fetched, and says which kind it will be.

    Raises:
        AlreadyExistsError: The file exists.
        InvalidArgumentError: The format is neither .csv nor .parquet.
        NotFoundError: Its folder does not exist.
    """
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise InvalidArgumentError(f'"{path.name}" must end in .csv or .parquet.', path=path)
    _check_free(path)
    return "csv" if path.suffix.lower() == ".csv" else "parquet"


def _check_free(path: Path) -> None:
    if path.exists():
        raise AlreadyExistsError(f"{path} exists; choose another name or remove it.", path=path)
    if not path.absolute().parent.is_dir():
        raise NotFoundError(f"There is no folder {path.absolute().parent}.", path=path)


def save(path: Path, array: "NDArray[Any]") -> None:
    """Writes an array, axes ZYX or CZYX, by the suffix of the path."""
    if path.suffix.lower() in _TIFF:
        _tifffile().imwrite(path, array, compression="zlib")
    else:
        import numpy as np

        np.save(path, array, allow_pickle=False)


def save_grey(path: Path, picture: "NDArray[Any]") -> None:
    """Writes a picture, uint8, axes ZYX, as a TIFF that image programs open as it is."""
    _tifffile().imwrite(path, _page(picture), photometric="minisblack", compression="zlib")


def save_mask(path: Path, mask: "NDArray[Any]", palette: "NDArray[Any]") -> None:
    """Writes class values, uint8, axes ZYX, as a TIFF that shows them in colours.

    Args:
        path: The file.
        mask: The values.
        palette: uint16, (3, 256).
    """
    _tifffile().imwrite(
        path, _page(mask), photometric="palette", colormap=palette, compression="zlib"
    )


def save_png(path: Path, section: "NDArray[Any]") -> None:
    """Writes one section, uint8, axes YX, or YX and three colours.

    Raises:
        FailedPreconditionError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise FailedPreconditionError(
            "PNG files need the package Pillow (pip install pillow); or use .tif."
        ) from None
    Image.fromarray(section).save(path)


def _page(stack: "NDArray[Any]") -> "NDArray[Any]":
    """A single section as a plain picture, for programs that know no stacks."""
    page: NDArray[Any] = stack[0] if len(stack) == 1 else stack
    return page


def _load(path: Path) -> "NDArray[Any]":
    _check_suffix(path)
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}.", path=path)
    try:
        return _load_tiff(path) if path.suffix.lower() in _TIFF else _load_npy(path)
    except DomainError:
        raise
    except Exception as error:  # noqa: BLE001 - damaged files raise whatever the format meets
        raise InvalidArgumentError(f"{path} cannot be read: {error}.", path=path) from None


def _load_tiff(path: Path) -> "NDArray[Any]":
    with _tifffile().TiffFile(path) as tiff:
        if tiff.pages[0].samplesperpixel > 1:
            raise InvalidArgumentError(
                f"{path} is a colour image; labels are one number a voxel. Save it as a greyscale "
                "image of 8 or 16 bit (in Fiji: Image > Type > 8-bit).",
                path=path,
            )
        array: NDArray[Any] = tiff.asarray()
        return array


def _load_npy(path: Path) -> "NDArray[Any]":
    import numpy as np

    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise InvalidArgumentError(
                f"{path} is no .npy file, whatever its name says; write one with numpy.save.",
                path=path,
            )
        file.seek(0)
        try:
            loaded: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        except ValueError as error:
            if "pickle" not in str(error) and "Object" not in str(error):
                raise
            # numpy advises to load such files unsafely, which would run what is in them.
            raise InvalidArgumentError(
                f"{path} holds Python objects; labels are an array of whole numbers, such as "
                "mask.astype('uint8').",
                path=path,
            ) from None
    return loaded


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() not in (".npy", *_TIFF):
        raise InvalidArgumentError(f'"{path.name}" must end in .npy or .tif.', path=path)


def _tifffile() -> Any:
    try:
        import tifffile
    except ImportError:
        raise FailedPreconditionError(
            "TIFF files need the package tifffile (pip install tifffile); or use .npy."
        ) from None
    return tifffile
