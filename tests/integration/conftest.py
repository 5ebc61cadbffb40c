"""The whole platform as processes, with a small phantom in it, shared by the tests."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from biosegment.cli.up.platform import Options, Platform
from biosegment.client import Client
from biosegment.client.geometry import Box
from biosegment.phantom import generate
from biosegment.v1 import jobs_pb2

SHAPE = (6, 160, 176)
VOXEL = (45.0, 9.2, 9.2)


@dataclass(frozen=True, slots=True)
class World:
    """A running platform with a data set "em", its truth, and a model "unet"."""

    platform: Platform
    client: Client
    folder: Path
    raw: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    reference: str

    def train(self, steps: int, checkpoint_steps: int = 10) -> jobs_pb2.Job:
        """Starts a training run on what is annotated."""
        settings = jobs_pb2.TrainingSettings(
            steps=steps, batch_size=2, checkpoint_steps=checkpoint_steps, seed=1
        )
        settings.patch.z, settings.patch.y, settings.patch.x = 1, 64, 64
        return self.client.train("unet", "em", settings=settings)

    def annotate(self, box: Box) -> None:
        """Commits the truth of a box."""
        self.client.commit("em", box, self.truth[box.slices], tool="test")


def wait_until(condition: Callable[[], bool], deadline: float = 60.0) -> None:
    """Waits for a condition, and fails when it does not come true in time."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The platform, with short leases so that losses are noticed soon."""
    folder = tmp_path_factory.mktemp("world")
    phantom = generate(shape=SHAPE, voxel_size=VOXEL, seed=3)
    tifffile.imwrite(folder / "raw.tif", phantom.raw)
    tifffile.imwrite(folder / "labels.tif", phantom.labels)
    options = Options(
        home=folder / "home",
        import_roots=[folder],
        export_roots=[folder],
        environment={"BIOSEGMENT_LEASE_SECONDS": "3", "BIOSEGMENT_RECONCILE_SECONDS": "0.5"},
    )
    with Platform(options) as platform, Client(platform.connection) as client:
        client.put_label_class(1, "mitochondria")
        client.wait(client.import_volume(folder / "raw.tif", dataset="em", voxel_size=VOXEL))
        labels = client.wait(client.import_labels(folder / "labels.tif", dataset="em"))
        client.create_model(
            "unet",
            classes=[0, 1],
            architecture="unet2d-quarter",
            parameters={"feature_maps": 8, "levels": 3},
        )
        made = World(
            platform,
            client,
            folder,
            phantom.raw,
            phantom.labels,
            labels.result.import_result.volume,
        )
        made.annotate(Box((0, 0, 0), (3, 96, 128)))
        client.wait(made.train(30))
        yield made


@pytest.fixture(autouse=True)
def _still_up(request: pytest.FixtureRequest) -> None:
    """Says why the shared platform has stopped, should it have."""
    if "world" in request.fixturenames:
        made: World = request.getfixturevalue("world")
        assert not made.platform.wait(0)
