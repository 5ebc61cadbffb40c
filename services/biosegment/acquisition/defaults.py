"""What a campaign takes where nothing is said: the experiment of the paper, from a better start.

Rombaut, Roels and Saeys, "BioSegment: Active Learning segmentation for 3D electron microscopy
imaging", section 4: 20 patches of 128 x 128 first, then the 20 of highest entropy out of 2000 in
each round, 500 in all; learning rates 1e-3 and 5e-4. Its 500 and 200 epochs are given here as steps
of 8 patches, about as many passes over the first 20 patches, and fewer over the later ones. Where
the paper begins with fresh weights, the network learns from the raw voxels first, and half the
first patches, random as the paper's, teach it to choose the others (docs/label-efficiency.md).
"""

from google.protobuf.struct_pb2 import Struct

from biosegment.acquisition.strategies.base import read_parameters
from biosegment.acquisition.strategies.random import Random
from biosegment.acquisition.strategies.table import find
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import ZYX, Box, shape_of
from biosegment.v1 import campaigns_pb2 as pb
from biosegment.v1 import jobs_pb2, training_pb2

STRATEGY = "entropy"
_COUNTS = {
    "initial_patches": 20,
    "batch_patches": 20,
    "pool_patches": 2000,
    "budget_patches": 500,
}
_BATCH_SIZE = 8
_INITIAL = jobs_pb2.TrainingSettings(steps=1000, batch_size=_BATCH_SIZE, learning_rate=1e-3)
_PRETRAINING = jobs_pb2.TrainingSettings(steps=6000, batch_size=_BATCH_SIZE, learning_rate=1e-3)
_ROUND = jobs_pb2.TrainingSettings(steps=400, batch_size=_BATCH_SIZE, learning_rate=5e-4)
# Without a GPU a start or a training ends after so many seconds, whatever the network: people
# wait for it. On two cores a round of the quarter-width network fits, of unet2d a small part.
_CPU_START_SECONDS, _CPU_TRAINING_SECONDS = 600.0, 480.0


def fill(campaign: pb.Campaign, shape: ZYX, device: training_pb2.Device) -> None:
    """Replaces zero values by defaults, in place.

    Args:
        campaign: As asked for, with its patch.
        shape: Extent of its data set, (z, y, x).
        device: What training has. Without a GPU trainings that name no steps are bounded in time.

    Raises:
        InvalidArgumentError: A count is negative, or the strategy or its parameters are unknown.
    """
    for name, default in _COUNTS.items():
        value = getattr(campaign, name)
        if value < 0:
            raise InvalidArgumentError(f"{name} is {value}; it must not be negative.", field=name)
        setattr(campaign, name, value or default)
    # A small budget is a wish for a small campaign.
    campaign.initial_patches = min(campaign.initial_patches, campaign.budget_patches)
    if not campaign.HasField("region"):
        campaign.region.CopyFrom(Box.of_shape(shape).to_proto())
    campaign.candidates = campaign.candidates or pb.CANDIDATE_SOURCE_POOL
    _fill_strategy(campaign.strategy, STRATEGY)
    if not campaign.base_version:
        if not campaign.skip_pretraining:
            # Marks it as present; its values follow with those of the other trainings.
            campaign.pretraining.SetInParent()
        _fill_strategy(campaign.first_strategy, Random.name)
    _fill_trainings(campaign, bounded=device.type == "cpu")


def patch_for(network: training_pb2.Architecture, shape: ZYX) -> ZYX:
    """The patch of a campaign that names none: the network's, smaller in a small data set.

    Args:
        network: As training describes it; for sections its patch is the paper's.
        shape: Extent of the data set, (z, y, x).
    """
    z, y, x = (
        max(step, min(size, extent // step * step))
        for size, step, extent in zip(
            shape_of(network.patch), shape_of(network.patch_step), shape, strict=True
        )
    )
    return z, y, x


def _fill_trainings(campaign: pb.Campaign, *, bounded: bool) -> None:
    trainings = [
        (campaign.initial_training, _INITIAL, _CPU_TRAINING_SECONDS),
        (campaign.round_training, _ROUND, _CPU_TRAINING_SECONDS),
    ]
    if campaign.HasField("pretraining"):
        trainings.append((campaign.pretraining, _PRETRAINING, _CPU_START_SECONDS))
    for given, defaults, seconds in trainings:
        filled = jobs_pb2.TrainingSettings()
        filled.CopyFrom(defaults)
        # Who names steps wants them all.
        if bounded and not given.steps:
            filled.max_seconds = seconds
        filled.patch.CopyFrom(campaign.patch)
        for part, value in given.ListFields():
            if part.message_type is None:
                setattr(filled, part.name, value)
            else:
                getattr(filled, part.name).CopyFrom(value)
        given.CopyFrom(filled)


def _fill_strategy(strategy: pb.Strategy, default: str) -> None:
    strategy.name = strategy.name or default
    parameters = read_parameters(find(strategy.name), dict(strategy.parameters))
    strategy.parameters.CopyFrom(as_struct(parameters.values()))


def as_struct(values: dict[str, float | str | bool]) -> Struct:
    """Parameters as a message."""
    made = Struct()
    made.update(values)
    return made
