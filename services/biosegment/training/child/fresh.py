"""How well a version does on labels that it has not learnt from: those that came since."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from biosegment.client.arrays import NOT_LABELLED
from biosegment.client.geometry import ZYX, Box
from biosegment.nets.network import Network
from biosegment.training.child.held_out import crops, measure
from biosegment.training.child.log_replay import LabelPatch
from biosegment.training.child.samples import Sample

_AT_ONCE = 8


def labels_in(boxes: Sequence[Box], patches: Sequence[LabelPatch]) -> list[LabelPatch]:
    """What is labelled in each of some boxes; boxes without a label are left out.

    Args:
        boxes: The boxes; voxels that several of them hold are in the first alone.
        patches: Every labelled voxel once.
    """
    made: list[LabelPatch] = []
    for number, box in enumerate(boxes):
        values = np.full(box.shape, NOT_LABELLED, np.uint8)
        for patch in patches:
            shared = patch.box.intersection(box)
            if shared is not None:
                there = patch.values[shared.relative_to(patch.box.start).slices]
                values[shared.relative_to(box.start).slices] = there
        for earlier in boxes[:number]:
            shared = earlier.intersection(box)
            if shared is not None:
                values[shared.relative_to(box.start).slices] = NOT_LABELLED
        found = LabelPatch(box, values)
        if found.labelled:
            made.append(found)
    return made


def figures(
    network: Network, samples: Sequence[Sample], classes: Sequence[int], patch: ZYX
) -> dict[str, float]:
    """The IoU of a network on samples, with how many patches and voxels it is of.

    Args:
        network: In eval mode on the CPU, and left so.
        samples: Labels with their surroundings.
        classes: Class values in channel order.
        patch: Extent of a training crop. What is shown is half as much again in the plane, so
            that the rim of a patch is judged by what lies around it.

    Returns:
        ``fresh_iou`` and ``fresh_iou_<class>`` (absent where neither labels nor prediction hold a
        class but background), ``fresh_patches`` and ``fresh_voxels``; empty without samples.
    """
    if not samples:
        return {}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def guess(raw: NDArray[np.float32]) -> NDArray[np.uint8]:
        with torch.no_grad():
            logits = network(torch.from_numpy(raw).to(device))
        found: NDArray[np.uint8] = logits.argmax(1).to(torch.uint8).cpu().numpy()
        return found

    network.to(device).eval()
    try:
        shown = crops(samples, _wider(patch, network.footprint.stride))
        counts = measure(guess, shown, classes, _AT_ONCE)
    finally:
        network.cpu()
    found = {k: v for k, v in counts.figures().items() if k.startswith("iou")}
    found |= {"patches": float(len(samples)), "voxels": float(counts.voxels)}
    return {f"fresh_{name}": value for name, value in found.items()}


def _wider(patch: ZYX, stride: ZYX) -> ZYX:
    z, y, x = (
        size if size == 1 else (size + size // 2) // step * step
        for size, step in zip(patch, stride, strict=True)
    )
    return z, y, x
