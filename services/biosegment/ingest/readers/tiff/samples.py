"""From the numbers of a TIFF page to grey values or classes, as its tags say."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.errors import InvalidArgumentError
from biosegment.ingest.readers.tiff.facts import (
    MIN_IS_BLACK,
    MIN_IS_WHITE,
    PALETTE,
    RGB,
    YCBCR,
    PageFacts,
)

_GREY = {MIN_IS_WHITE, MIN_IS_BLACK, PALETTE}
_COLOUR = {RGB, YCBCR}
_OPAQUE_KINDS = {1, 2}
_NAMES = {5: "CMYK", 8: "CIE L*a*b*", 9: "ICC L*a*b*", 10: "ITU L*a*b*", 32803: "colour filters"}
_KEPT = {"uint8", "uint16", "int8", "int16", "float32"}
_AS_FLOAT = {"float16", "float64", "int32", "uint32", "int64", "uint64"}


class Samples:
    """What becomes of one page's numbers.

    Attributes:
        dtype: Of what comes out.
    """

    def __init__(
        self,
        file: Path,
        facts: PageFacts,
        pages: Any,
        *,
        labels: bool,
        imagej: bool = False,
        number: int | None = None,
    ) -> None:
        """Looks at the tags.

        Args:
            file: For messages.
            facts: Of the page.
            pages: The tifffile.TiffPages, for the page's palette.
            labels: Whether numbers are classes, which no tag changes.
            imagej: Whether ImageJ wrote the file: its palettes say how grey values are shown, not
                what they are.
            number: Of the section in messages, where it has no page of its own.

        Raises:
            InvalidArgumentError: The page is no picture of one channel.
        """
        self._file, self._facts, self._labels = file, facts, labels
        self._where = f"Page {(facts.index if number is None else number) + 1} of {file}"
        self._check_layout()
        self.palette = None if imagej else self._palette(pages)
        self.inverted = facts.photometric == MIN_IS_WHITE and not labels
        natural = self.palette.dtype if self.palette is not None else facts.dtype
        self.dtype = self._stored(np.dtype("u1") if natural == np.bool_ else natural)
        if self.inverted and natural is not None and natural.kind == "f":
            raise self._refusal(
                "is white-is-zero and holds floating-point numbers, of which none is white. Save "
                "it with black as zero"
            )

    def _check_layout(self) -> None:
        facts = self._facts
        colours = 3 if facts.photometric in _COLOUR else 1
        alpha = facts.samples - colours
        if facts.photometric not in _GREY | _COLOUR:
            kind = _NAMES.get(facts.photometric, f"of the colour model {facts.photometric}")
            raise self._refusal(f"is {kind}, not grey. Convert it to grey first")
        if facts.dtype is None or facts.dtype.kind not in "uifb":
            kind = "unknown kinds" if facts.dtype is None else facts.dtype.name
            raise self._refusal(f"holds numbers of {kind}, which are no grey values")
        if facts.depth > 1:
            raise self._refusal(
                f"holds {facts.depth} sections in one page, which no import reads. Save it with "
                "one section per page"
            )
        if facts.separate and facts.samples > 1:
            # tifffile writes so whatever is 3 or 4 sections deep, unless told otherwise.
            raise self._refusal(
                f"holds {facts.samples} planes, as colours or channels. If they are sections, take "
                "them so with --axes ZYX; else save the one that is meant as a stack of its own"
            )
        if alpha and not (alpha == 1 and facts.extra and facts.extra[-1] in _OPAQUE_KINDS):
            raise self._refusal(
                f"holds {facts.samples} channels in each page; imports take one. Save the one "
                "that is meant as a stack of its own"
            )

    def _palette(self, pages: Any) -> NDArray[Any] | None:
        """Grey values by palette index; None where the numbers are not looked up."""
        if self._facts.photometric != PALETTE or self._labels:
            return None
        found = pages[self._facts.index].colormap
        table = np.asarray(found if found is not None else np.zeros((3, 0)))
        if not table.size or (table != table[:1]).any():
            raise self._refusal(
                "has a palette of colours, so its numbers are no grey values. Convert it to grey "
                "first, or import it as labels"
            )
        ramp: NDArray[Any] = table[0].astype("u2")
        fine = (ramp % 257).any() and (ramp % 256).any()
        if not fine:
            ramp = (ramp >> 8).astype("u1")
        return ramp

    def _stored(self, natural: np.dtype[Any] | None) -> np.dtype[Any]:
        assert natural is not None
        if self._labels or natural.name in _KEPT:
            return natural
        if natural.name in _AS_FLOAT:
            return np.dtype("f4")
        raise self._refusal(f"holds {natural.name}, which imports do not take")

    def __call__(self, raw: NDArray[Any]) -> NDArray[Any]:
        """The picture of a page.

        Args:
            raw: As decoded: axes YX or YXS.

        Returns:
            Axes YX, of ``dtype``.

        Raises:
            InvalidArgumentError: It is coloured or transparent after all, or holds what its type
                cannot.
        """
        page = self._one_sample(raw)
        if page.dtype == np.bool_:
            page = page.astype("u1")
        if self.palette is not None:
            page = self._looked_up(page)
        elif self.inverted:
            most = 1 if raw.dtype == np.bool_ else (1 << self._facts.bits) - 1
            page = ~page if page.dtype.kind == "i" else (most - page).astype(page.dtype)
        return self._exact(_turned(page, self._facts.orientation))

    def _one_sample(self, raw: NDArray[Any]) -> NDArray[Any]:
        if raw.ndim == 2:
            return raw
        facts, samples = self._facts, raw
        colours = 3 if facts.photometric in _COLOUR else 1
        if samples.shape[-1] > colours and (samples[..., -1] != samples[0, 0, -1]).any():
            raise self._refusal(
                "is transparent in places, and what is behind it is not known. Save it without "
                "transparency"
            )
        if (samples[..., :colours] != samples[..., :1]).any():
            raise self._refusal("is coloured; imports take grey values. Convert it to grey first")
        return np.ascontiguousarray(samples[..., 0])

    def _looked_up(self, page: NDArray[Any]) -> NDArray[Any]:
        assert self.palette is not None
        if page.size and int(page.max()) >= self.palette.size:
            raise self._refusal(f"holds numbers that its palette of {self.palette.size} has not")
        looked_up: NDArray[Any] = self.palette[page]
        return looked_up

    def _exact(self, page: NDArray[Any]) -> NDArray[Any]:
        if page.dtype == self.dtype and page.dtype.kind != "f":
            return page
        with np.errstate(over="ignore"):
            made = page.astype(self.dtype, copy=False)
        if self._labels:
            return made
        if not np.isfinite(made).all():
            raise self._refusal(
                "holds values that are no numbers, infinite, or too large for 32 bit. Replace "
                "them first"
            )
        if page.dtype.kind in "iu" and made.dtype.kind == "f" and (made != page).any():
            raise self._refusal(
                f"holds whole numbers too large to be kept exactly ({page.dtype.name}). Convert "
                "it to 16 bit first"
            )
        return made

    def _refusal(self, trouble: str) -> InvalidArgumentError:
        return InvalidArgumentError(f"{self._where} {trouble}.", path=self._file)


def _turned(page: NDArray[Any], orientation: int) -> NDArray[Any]:
    """As it is to be seen: the tag says where the first row and the first column lie."""
    if orientation > 4:
        page, orientation = page.T, {5: 1, 6: 2, 7: 3, 8: 4}[orientation]
    if orientation in (2, 3):
        page = page[:, ::-1]
    if orientation in (3, 4):
        page = page[::-1]
    return np.ascontiguousarray(page)
