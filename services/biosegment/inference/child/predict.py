"""Arrays in, predictions out: one network over tiles."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biosegment.client.errors import OutOfMemoryError
from biosegment.client.geometry import ZYX, Box
from biosegment.inference.child import heap, tiles
from biosegment.inference.child.compiled import CompiledNetwork
from biosegment.inference.child.uniform import UniformTiles
from biosegment.inference.forwards import Precision
from biosegment.nets.channels import value_table
from biosegment.nets.intensity import AS_IT_IS, GreyMap, factors, unit_scale
from biosegment.nets.network import Network, channels_last

# Of torch ("can't allocate memory"), oneDNN beneath it, and OpenVINO.
_NO_MEMORY = ("can't alloc", "could not create a primitive", "Failed to allocate", "bad_alloc")
LABELS, PROBABILITIES, ENTROPY = "labels", "probabilities", "entropy"


def _nothing() -> None:
    return None


def _unheard(_part: float) -> None:
    return None


def default_device() -> torch.device:
    """The first GPU, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(slots=True)
class Predictor:
    """A network ready to predict.

    Attributes:
        module: The network, in eval mode, on the device.
        classes: Class values in channel order.
        device: Where it computes.
        forward_pixels: Pixels in one forward, those of all sections; halved when the device runs
            out of memory.
        by_openvino: Whether OpenVINO runs the network; never on a GPU, nor once memory ran out.
        precision: What ``logits`` computes with.
        grey: What puts the volume that is looked at on the scale of what the network learnt from;
            see ``looking_at``.
        forwards: How often the network was run, by ``predict_all``.
    """

    module: Network
    classes: tuple[int, ...]
    forward_pixels: int
    device: torch.device = field(default_factory=default_device)
    by_openvino: bool = False
    precision: Precision = Precision.FLOAT32
    grey: GreyMap = AS_IT_IS
    forwards: int = field(default=0, init=False)
    # By whether it predicts parts of what it is shown.
    _compiled: dict[bool, CompiledNetwork] = field(default_factory=dict, init=False, repr=False)
    _uniform: UniformTiles = field(default_factory=UniformTiles, init=False, repr=False)

    def __post_init__(self) -> None:
        self.module = channels_last(self.module.eval().to(self.device))
        self.by_openvino = self.by_openvino and self.device.type == "cpu"

    @contextmanager
    def looking_at(self, grey: GreyMap) -> Iterator["Predictor"]:
        """Looks at a volume of these grey values for a while.

        A person's question comes in between two forwards of a job, about another volume maybe:
        what was looked at before is looked at again afterwards.
        """
        before, self.grey = self.grey, grey
        try:
            yield self
        finally:
            self.grey = before

    def tensor(self, raw: NDArray[Any]) -> Tensor:
        """Raw voxels (N, z, y, x) as network input of the same shape on the device."""
        x = torch.from_numpy(
            np.ascontiguousarray(raw if raw.dtype == np.uint8 else unit_scale(raw, self.grey))
        )
        x = x.to(self.device)
        if x.dtype == torch.uint8:
            # The smallest form travels to the device; the value is that of unit_scale.
            factor, shift = (float(np.float32(part)) for part in factors(raw.dtype, self.grey))
            x = x.float() * factor
            if shift:
                x += shift
        return x

    def logits(self, x: Tensor, core: Sequence[slice] | None = None) -> Tensor:
        """Class logits (N, C, z, y, x), float32, of what ``tensor`` gives, nothing dropped out.

        Args:
            x: Of ``tensor``.
            core: What of it to predict, by axis, all of it where None. All sections for a network
                that looks at each by itself.
        """
        windows = () if core is None else self._windows(x, core)
        if not self.by_openvino:
            halved = self.precision is Precision.BFLOAT16
            with torch.autocast(self.device.type, torch.bfloat16, enabled=halved):
                made: Tensor = self.module(x, *windows)
            return made.float()
        parts = bool(windows)
        if parts not in self._compiled:
            self._compiled[parts] = CompiledNetwork(
                self.module, parts=parts, precision=self.precision
            )
        return self._compiled[parts](x, *windows)

    def _windows(self, x: Tensor, core: Sequence[slice]) -> tuple[Tensor, ...]:
        axes = self.module.dense_axes
        extent, part = x.shape[-axes:], core[-axes:]
        if all((one.start, one.stop) == (0, size) for one, size in zip(part, extent, strict=True)):
            return ()
        return (self.module.windows(extent, part),)

    def give_back(self) -> None:
        """Frees what forwards keep for one another."""
        for compiled in self._compiled.values():
            compiled.give_back()

    def halve(self, smallest: int) -> None:
        """Makes forwards smaller.

        Args:
            smallest: Voxels below which a forward cannot go.

        Raises:
            OutOfMemoryError: They are as small as can be.
        """
        if self.forward_pixels <= smallest:
            raise OutOfMemoryError(
                f"The {self.device.type} has too little memory for the smallest forward of this "
                f"network ({smallest} voxels). Use a model with fewer feature maps."
            )
        self.forward_pixels = max(smallest, self.forward_pixels // 2)
        # What the forward left behind may be what the next one lacks, and OpenVINO does not give
        # up what a failed one took: torch goes on.
        self.by_openvino, self._compiled = False, {}
        heap.give_back()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a forward failed for want of memory, on a GPU or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in _NO_MEMORY)


def predict(
    predictor: Predictor,
    raw: NDArray[Any],
    *,
    origin: ZYX,
    shape: ZYX,
    box: Box,
    output: str = LABELS,
    check: Callable[[], None] = _nothing,
) -> NDArray[Any]:
    """Predicts a box as if the network were run on the whole volume at once.

    Args:
        predictor: The network.
        raw: Voxels, axes ZYX, that cover ``tiles.input_box`` of the box.
        origin: Where ``raw`` begins in the volume.
        shape: Extent of the volume, (z, y, x).
        box: The voxels wanted.
        output: LABELS (class values, uint8, ZYX), PROBABILITIES (float32, CZYX) or ENTROPY
            (nats, float32, ZYX).
        check: Called between forwards; may raise to stop.

    Raises:
        OutOfMemoryError: Even the smallest tile is too large for the device.
    """
    (made,) = predict_all(
        predictor, raw, origin=origin, shape=shape, box=box, outputs=(output,), check=check
    )
    return made


def predict_all(
    predictor: Predictor,
    raw: NDArray[Any],
    *,
    origin: ZYX,
    shape: ZYX,
    box: Box,
    outputs: Sequence[str],
    check: Callable[[], None] = _nothing,
    tell: Callable[[float], None] = _unheard,
) -> tuple[NDArray[Any], ...]:
    """Several outputs of a box from one pass of the network; else as ``predict``.

    ``tell`` is called after each forward with the part of the box that is predicted, 0 to 1.
    """
    made = tuple(empty(output, len(predictor.classes), box.shape) for output in outputs)
    footprint = predictor.module.footprint
    begin = box.start[0]
    while begin < box.stop[0]:
        rest = Box((begin, *box.start[1:]), box.stop)
        done = box.voxels - rest.voxels
        try:
            for tile in tiles.tiles(
                rest,
                shape=shape,
                footprint=footprint,
                forward_pixels=predictor.forward_pixels,
            ):
                begin = tile.z.core_start
                check()
                seen = tiles.cut(raw, origin, shape, tile, footprint.neighbours)
                parts = _forward(predictor, seen, tile, outputs)
                for whole, part in zip(made, parts, strict=True):
                    whole[(..., *tile.place_in(box))] = part
                done += prod(span.core_stop - span.core_start for span in tile.axes)
                tell(done / box.voxels)
            break
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Out here, for the error holds on to what the forward held.
        predictor.halve(prod(footprint.smallest(shape)))
    return made


def empty(output: str, classes: int, shape: ZYX) -> NDArray[Any]:
    """An array for an output of a box, not filled."""
    if output == LABELS:
        return np.empty(shape, np.uint8)
    return np.empty((classes, *shape) if output == PROBABILITIES else shape, np.float32)


def _forward(
    predictor: Predictor, seen: NDArray[Any], tile: tiles.Tile, outputs: Sequence[str]
) -> list[NDArray[Any]]:
    return predictor._uniform.predict(
        seen, tile, (predictor.grey, *outputs), lambda: _run(predictor, seen, tile, outputs)
    )


@torch.inference_mode()
def _run(
    predictor: Predictor, seen: NDArray[Any], tile: tiles.Tile, outputs: Sequence[str]
) -> list[NDArray[Any]]:
    predictor.forwards += 1
    core = [span.core for span in tile.axes]
    (logits,) = predictor.logits(predictor.tensor(seen[np.newaxis]), core)
    return [output_of(predictor, logits, output) for output in outputs]


def output_of(predictor: Predictor, logits: Tensor, output: str) -> NDArray[Any]:
    """An output, as of ``predict``, of class logits (C, z, y, x) on the device."""
    if output == LABELS:
        values = torch.from_numpy(value_table(predictor.classes)).to(predictor.device)
        # Not argmax, which takes ten times as long where each class lies by itself in memory.
        return _to_numpy(values[logits.max(dim=0).indices])
    if output == PROBABILITIES:
        return _to_numpy(logits.softmax(dim=0))
    return _to_numpy(entropy(logits))


def entropy(logits: Tensor) -> Tensor:
    """Shannon entropy over axis 0 in nats, -sum p log p, without log(0)."""
    logarithms = logits.log_softmax(dim=0)
    return -(logarithms.exp() * logarithms).sum(dim=0)


def _to_numpy(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.cpu().numpy()
    return array
