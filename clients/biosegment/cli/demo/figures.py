"""The pictures of the report, as PNG files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CLASS_COLOR, _MISSED, _EXTRA = (0.91, 0.35, 0.05), (0.2, 0.5, 0.95), (0.95, 0.8, 0.1)
_DPI = 110


@dataclass(frozen=True, slots=True)
class ProposedPatch:
    """A patch as it was proposed.

    Attributes:
        raw: Grey values, axes YX.
        truth: Class values, axes YX.
        entropy: Nats, axes YX; None in a round without a model.
        score: The strategy's; None where it did not look at the patch.
    """

    raw: NDArray[Any]
    truth: NDArray[np.uint8]
    entropy: NDArray[np.float32] | None
    score: float | None


def learning_curve(path: Path, labelled: Sequence[int], iou: Sequence[float], title: str) -> None:
    """IoU on the held-out half over patches labelled."""
    figure, (axes,) = _figure(1, 1, width=6.0, height=3.8)
    axes.plot(labelled, iou, "o-", color=_CLASS_COLOR)
    for x, y in zip(labelled, iou, strict=True):
        axes.annotate(f"{y:.3f}", (x, y), textcoords="offset points", xytext=(0, 7), ha="center")
    axes.set(xlabel="patches labelled", ylabel="IoU, held-out half", title=title)
    axes.set_ylim(0, max(1.0, 1.05 * max(iou, default=1.0)))
    axes.grid(alpha=0.3)
    _save(figure, path)


def proposals(path: Path, patches: Sequence[ProposedPatch], title: str) -> None:
    """The patches of a round: raw, what the model was unsure of, what the expert drew."""
    rows = 3 if any(patch.entropy is not None for patch in patches) else 2
    figure, axes = _figure(rows, len(patches), width=1.9 * len(patches), height=2.0 * rows + 0.4)
    figure.suptitle(title, fontsize=10)
    for n, patch in enumerate(patches):
        axes[n].imshow(patch.raw, cmap="gray")
        if patch.score is not None:
            axes[n].set_title(f"score {patch.score:.3f}", fontsize=8)
        if rows == 3 and patch.entropy is not None:
            axes[len(patches) + n].imshow(patch.entropy, cmap="inferno", vmin=0, vmax=np.log(2))
        axes[(rows - 1) * len(patches) + n].imshow(painted(patch.raw, patch.truth > 0))
    for one, name in zip(axes[:: len(patches)], _row_names(rows), strict=True):
        one.set_ylabel(name, fontsize=9)
    _bare(axes)
    _save(figure, path)


def _row_names(rows: int) -> tuple[str, ...]:
    return ("proposed", "entropy", "drawn") if rows == 3 else ("proposed", "drawn")


def section(
    path: Path,
    raw: NDArray[Any],
    truth: NDArray[np.bool_],
    guess: NDArray[np.bool_],
    title: str,
) -> None:
    """A held-out section: raw, truth, prediction, and where they differ. Axes YX."""
    figure, axes = _figure(2, 2, width=9.0, height=9.0 * raw.shape[0] / raw.shape[1] + 1.0)
    figure.suptitle(title, fontsize=10)
    axes[0].imshow(raw, cmap="gray")
    axes[0].set_title("raw", fontsize=9)
    axes[1].imshow(painted(raw, truth))
    axes[1].set_title("truth", fontsize=9)
    axes[2].imshow(painted(raw, guess))
    axes[2].set_title("segmentation", fontsize=9)
    different = painted(painted(raw, truth & ~guess, _MISSED), guess & ~truth, _EXTRA)
    axes[3].imshow(different)
    axes[3].set_title("missed blue, too much yellow", fontsize=9)
    _bare(axes)
    _save(figure, path)


def painted(
    raw: NDArray[Any], mask: NDArray[np.bool_], color: tuple[float, float, float] = _CLASS_COLOR
) -> NDArray[np.float64]:
    """Grey values (YX) or colours (YXC) with a mask over them, colours from 0 to 1."""
    base = np.asarray(raw, np.float64)
    if base.ndim == 2:
        low, high = float(base.min()), float(base.max())
        base = np.repeat(((base - low) / max(high - low, 1e-9))[..., None], 3, axis=2)
    return np.where(mask[..., None], 0.55 * base + 0.45 * np.array(color), base)


def _figure(rows: int, columns: int, *, width: float, height: float) -> "tuple[Any, list[Axes]]":
    # The object interface: nothing global, no display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(width, 3.0), height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    return figure, list(grid.ravel())


def _bare(axes: "Sequence[Axes]") -> None:
    for one in axes:
        one.set_xticks([])
        one.set_yticks([])


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=_DPI)
