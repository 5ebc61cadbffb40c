"""What a demo is asked to do."""

from dataclasses import dataclass
from pathlib import Path

from biosegment.client.geometry import ZYX

NM = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The options of the demo.

    Attributes:
        out: Folder of everything it makes.
        image: TIFF to segment; None means a phantom.
        labels: TIFF with the truth; given exactly with the image.
        voxel_size: Nanometres, (z, y, x); None means as the file says.
        class_value: Value in labels that is the class; None means every value but 0.
        class_name: What the class is called.
        phantom_shape: Extent of the phantom in voxels.
        strategy: Acquisition function.
        rounds: Rounds in all, the first one included.
        initial: Patches of the first batch, which comes in two rounds.
        batch: Patches in every later round.
        pool: Candidates looked at in each round.
        patch: Edge of the square patches in pixels.
        initial_steps: Optimiser steps of a training on the first batch, and on raw voxels.
        round_steps: Optimiser steps of every later one.
        seed: Of every random choice.
    """

    out: Path
    image: Path | None
    labels: Path | None
    voxel_size: NM | None
    class_value: int | None
    class_name: str
    phantom_shape: ZYX
    strategy: str
    rounds: int
    initial: int
    batch: int
    pool: int
    patch: int
    initial_steps: int
    round_steps: int
    seed: int

    @property
    def budget(self) -> int:
        """Patches labelled in all."""
        return self.initial + self.batch * (self.rounds - 1)
