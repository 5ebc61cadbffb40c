"""What is held fixed while strategies are compared."""

from dataclasses import dataclass

from biosegment.client.geometry import ZYX


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to train.

    Attributes:
        amount: Steps, or epochs.
        epochs: Whether the amount is epochs, one being as many crops as patches are labelled.
    """

    amount: int
    epochs: bool = False

    def steps(self, labelled: int, batch_size: int) -> int:
        """Optimiser steps for a number of labelled patches."""
        return self.amount * -(-labelled // batch_size) if self.epochs else self.amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """The experiment's settings.

    Attributes:
        name: As people write it.
        binning: In-plane binning of the data, 1 for none.
        patch: Height and width of a patch in (binned) voxels; patches are one section thick.
        initial: Patches labelled before the first training, m.
        batch: Patches labelled before each later one, k.
        pool: Patches to choose from, n, drawn once per seed.
        rounds: Trainings, T; the last has initial + (rounds - 1) x batch patches.
        feature_maps: Width of the U-Net.
        dropout: Of the U-Net, for strategies that look at dropout; the others train without.
        batch_size: Crops per step.
        first_rate: Learning rate of the first training.
        round_rate: Learning rate of the later ones, which go on from the weights before.
        first_effort: Length of the first training.
        round_effort: Length of the later ones.
        all_effort: Length of the one training on the whole pool, the reference of full supervision;
            long enough that more brings nothing.
        pretrain_steps: Length of the self-supervised training where a strategy asks for it.
        max_overlap: Fraction of a patch that may lie in another labelled one, for all strategies.
    """

    name: str
    binning: int
    patch: int
    initial: int = 20
    batch: int = 20
    pool: int = 2000
    rounds: int
    feature_maps: int
    dropout: float = 0.1
    batch_size: int
    first_rate: float = 1e-3
    round_rate: float = 5e-4
    first_effort: Effort
    round_effort: Effort
    all_effort: Effort
    pretrain_steps: int
    max_overlap: float = 0.25

    @property
    def shape(self) -> ZYX:
        """Extent of a patch, (z, y, x)."""
        return 1, self.patch, self.patch

    def labelled(self, number: int) -> int:
        """Patches labelled in a round, which are counted from 0."""
        return self.initial + number * self.batch

    def steps(self, number: int) -> int:
        """Optimiser steps of a round, which are counted from 0."""
        effort = self.round_effort if number else self.first_effort
        return effort.steps(self.labelled(number), self.batch_size)

    @property
    def all_steps(self) -> int:
        """Optimiser steps of full supervision."""
        return self.all_effort.steps(self.pool, self.batch_size)


FULL = Protocol(
    name="full",
    binning=1,
    patch=128,
    rounds=25,
    feature_maps=16,
    batch_size=8,
    first_effort=Effort(500, epochs=True),
    round_effort=Effort(200, epochs=True),
    all_effort=Effort(200, epochs=True),
    pretrain_steps=10_000,
)
"""The paper's, for a GPU."""

REDUCED = Protocol(
    name="reduced",
    binning=2,
    patch=64,
    rounds=10,
    feature_maps=12,
    batch_size=10,
    first_effort=Effort(500, epochs=True),
    round_effort=Effort(150),
    all_effort=Effort(50, epochs=True),
    pretrain_steps=6000,
)
"""The same for two CPU cores: some minutes per strategy and seed."""

PROTOCOLS = {protocol.name: protocol for protocol in (FULL, REDUCED)}
