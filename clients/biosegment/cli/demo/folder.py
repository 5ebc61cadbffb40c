"""The demo's folder: made, or cleaned of an earlier demo, and never of anything else."""

import shutil
from pathlib import Path

from biosegment.cli.up.home import Home
from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError

_MARKER = ".biosegment-demo"
_MADE = (
    "platform",
    "data",
    "figures",
    "segmentation.tif",
    "segmentation.ome.zarr",
    "report.json",
    "report.html",
)


def prepare(out: Path) -> None:
    """Makes the folder, or removes what an earlier demo left in it.

    Raises:
        FailedPreconditionError: A platform runs there, or the folder holds other people's files.
        InvalidArgumentError: The folder cannot be made or written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not (out / _MARKER).exists() and any(out.iterdir()):
            raise FailedPreconditionError(
                f"{out} holds files that no demo made; name a new folder with --out.", path=out
            )
        if (out / "platform").exists():
            home = Home(out / "platform")
            home.lock()
            home.unlock()
        for name in _MADE:
            path = out / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        (out / _MARKER).touch()
        (out / "data").mkdir()
        (out / "figures").mkdir()
    except OSError as error:
        raise InvalidArgumentError(
            f"{out} cannot be the demo's folder: {error.strerror or error}.", path=out
        ) from None
