"""What is refused of a run on raw voxels, by the running service."""

import pytest

from biosegment.client.errors import InvalidArgumentError, OutsideVolumeError
from biosegment.client.geometry import Box
from biosegment.v1 import jobs_pb2, training_pb2, types_pb2
from tests.integration.conftest import World


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            {"base_version": "projects/default/models/unet/versions/1"},
            InvalidArgumentError,
            "fresh",
        ),
        ({"revision": 1}, InvalidArgumentError, "no labels"),
        (
            {
                "region": Box((0, 0, 0), (1, 32, 32)).to_proto(),
                "settings": jobs_pb2.TrainingSettings(patch=types_pb2.Shape(z=1, y=64, x=64)),
            },
            InvalidArgumentError,
            "smaller than a crop",
        ),
        ({"region": Box((0, 0, 0), (1, 999, 999)).to_proto()}, OutsideVolumeError, "999"),
    ],
)
async def test_a_restoration_that_makes_no_sense_is_refused(
    world: World, change: dict[str, object], error: type[Exception], words: str
) -> None:
    spec = jobs_pb2.TrainSpec(
        model="projects/default/models/unet",
        dataset="projects/default/datasets/em",
        objective=jobs_pb2.TRAINING_OBJECTIVE_RESTORATION,
        **change,  # type: ignore[arg-type]
    )
    from biosegment.client.stubs import AsyncStubs

    async with AsyncStubs(world.client.connection) as stubs:
        with pytest.raises(error, match=words):
            await stubs.training.StartTraining(
                training_pb2.StartTrainingRequest(parent="projects/default", spec=spec)
            )
