"""Restores a backup into a home of its own."""

import os
from pathlib import Path

from biosegment.cli.backup.folder import BackupFolder, Manifest, copy, trouble
from biosegment.cli.output import tell
from biosegment.cli.up.home import RESTORING, Home
from biosegment.client.errors import FailedPreconditionError

_EACH = 1000


def restore(source: Path, home: Home) -> Manifest:
    """Makes a home of a backup; one that was cut off goes on where it stopped.

    The home is a platform of its own: it has another token than the one that was backed up, and
    arrays of its own, wherever those of the other one lie.

    Raises:
        FailedPreconditionError: The backup is not whole, the home is in use already, or the disk
            is full.
    """
    folder = BackupFolder(source)
    if not folder.folder.is_dir() or (manifest := folder.manifest()) is None:
        raise FailedPreconditionError(f"There is no backup in {folder.folder}.", path=folder.folder)
    if not manifest.complete:
        raise FailedPreconditionError(
            f"The backup in {folder.folder} was never whole; take it with: biosegment backup "
            f"{folder.folder}",
            path=folder.folder,
        )
    marker = home.folder / RESTORING
    if home.folder.exists() and any(home.folder.iterdir()) and not marker.exists():
        raise FailedPreconditionError(
            f"{home.folder} is not empty; name a new folder with --home.", path=home.folder
        )
    try:
        with folder.locked():
            files = folder.files(manifest)
            if not home.folder.exists():
                home.folder.parent.mkdir(parents=True, exist_ok=True)
                home.folder.mkdir(mode=0o700)
            marker.write_text(f"{folder.folder}\n")
            home.store.mkdir(mode=0o700, exist_ok=True)
            for number, name in enumerate(files, 1):
                copy(folder.store / name, home.store / name)
                if number % _EACH == 0:
                    tell(f"  {number} of {len(files)} files")
            copy(folder.folder / manifest.record, home.database, mode=0o600)
            os.sync()
            marker.unlink()
    except OSError as error:
        raise trouble(error, home.folder) from None
    return manifest
