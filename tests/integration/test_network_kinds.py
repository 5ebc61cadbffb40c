"""Every kind of network through the running platform: train, predict, segment, evaluate."""

import numpy as np
import pytest

from biosegment.client.geometry import Box
from biosegment.v1 import jobs_pb2, types_pb2
from tests.integration.conftest import SHAPE, World

SMALL = {"feature_maps": 2, "levels": 1}


@pytest.mark.parametrize(
    ("name", "architecture", "parameters", "patch"),
    [
        ("beside", "unet2d-quarter", {**SMALL, "in_channels": 3}, (1, 32, 32)),
        ("deep", "unet3d-quarter", {**SMALL, "planar_levels": 0}, (4, 32, 32)),
        ("grouped", "unet2d-group", SMALL, (1, 32, 32)),
    ],
)
def test_a_network_goes_the_whole_way(world: World, name, architecture, parameters, patch) -> None:
    client = world.client
    client.create_model(name, classes=[0, 1], architecture=architecture, parameters=parameters)
    z, y, x = patch
    settings = jobs_pb2.TrainingSettings(
        steps=3, batch_size=2, seed=1, patch=types_pb2.Shape(z=z, y=y, x=x)
    )
    client.wait(client.train(name, "em", settings=settings))
    job = client.wait(client.segment(f"{name}/latest", "em", segmentation=name))
    segmented = client.read(job.result.segment_result.volume, Box.of_shape(SHAPE))
    # One box across all sections, which is not on any block's border.
    box = Box((1, 17, 33), (SHAPE[0], 140, 170))
    assert client.predict(f"{name}/latest", "em", box).shape == box.shape
    predicted = client.predict(f"{name}/latest", "em", box, output="probabilities")
    sure = np.abs(predicted[0] - predicted[1]) > 1e-3
    assert sure.mean() > 0.5
    assert np.array_equal(predicted.argmax(0)[sure], segmented[box.slices][sure])
    measured = client.wait(client.evaluate(f"{name}/latest", "em", world.reference))
    agreement = (segmented == world.truth).mean()
    assert measured.result.evaluate_result.metrics["accuracy"] == pytest.approx(agreement, abs=1e-3)
