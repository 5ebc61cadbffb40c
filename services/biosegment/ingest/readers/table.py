"""Which reader reads which file."""

from pathlib import Path

from biosegment.ingest.readers.base import Reader
from biosegment.ingest.readers.tiff.reader import TiffReader

_TIFF = TiffReader()
READERS: tuple[Reader, ...] = (_TIFF,)


def suffixes() -> frozenset[str]:
    """Every ending that some reader knows, in small letters."""
    return frozenset().union(*(reader.suffixes for reader in READERS))


def reader_of(file: Path) -> Reader:
    """The reader of a file; of TIFF where its name says nothing."""
    for reader in READERS:
        if file.suffix.lower() in reader.suffixes:
            return reader
    return _TIFF
