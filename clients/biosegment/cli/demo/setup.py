"""Project, classes, data set, truth, model and campaign."""

from dataclasses import dataclass

from biosegment.cli.demo.display import Display
from biosegment.cli.demo.files import Files
from biosegment.cli.demo.plan import Plan
from biosegment.client import Client
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import ZYX, Box, shape_of, shape_proto
from biosegment.v1.jobs_pb2 import TrainingSettings

PROJECT, DATASET, MODEL, CAMPAIGN = "demo", "volume", "unet", "loop"
CLASS = 1
_BATCH_SIZE = 8
# A quarter of the default patch's area: steps that two cores do in a fraction of a second.
_CROP = 64


@dataclass(frozen=True, slots=True)
class Scene:
    """What the loop runs on.

    Attributes:
        shape: Extent of the data set in voxels.
        voxel_size: Nanometres, (z, y, x).
        truth: The volume with the reference labels.
        region: Where patches are taken from: y below the middle.
        held_out: Where models are measured: y from the middle on.
    """

    shape: ZYX
    voxel_size: tuple[float, float, float]
    truth: str
    region: Box
    held_out: Box


def halves(shape: ZYX) -> tuple[Box, Box]:
    """The two halves along y: to learn from, and to measure on.

    Raises:
        InvalidArgumentError: There is only one row.
    """
    z, y, x = shape
    if y < 2:
        raise InvalidArgumentError(f"A volume of {z} × {y} × {x} voxels cannot be halved along y.")
    return Box((0, 0, 0), (z, y // 2, x)), Box((0, y // 2, 0), (z, y, x))


def import_all(client: Client, plan: Plan, files: Files, display: Display) -> Scene:
    """Imports image and labels.

    Raises:
        DomainError: The files cannot be imported.
    """
    client.create_project(PROJECT, display_name="Demo")
    client.put_label_class(0, "background", color="#000000")
    client.put_label_class(CLASS, plan.class_name, color="#e8590c")
    with display.doing("Importing the image") as doing:
        job = client.import_volume(files.image, dataset=DATASET, voxel_size=files.voxel_size)
        client.wait(job, lambda job: doing.job("Importing the image", job))
        job = client.import_labels(files.labels, dataset=DATASET)
        client.wait(job, lambda job: doing.job("Importing the labels", job))
    dataset = client.dataset(DATASET)
    shape, size = shape_of(dataset.shape), dataset.voxel_size
    region, held_out = halves(shape)
    display.say(
        f"Imported {shape[0]} × {shape[1]} × {shape[2]} voxels of "
        f"{size.z:g} × {size.y:g} × {size.x:g} nm (z, y, x)."
    )
    return Scene(shape, (size.z, size.y, size.x), dataset.reference_volumes[-1], region, held_out)


def start_campaign(client: Client, plan: Plan, scene: Scene) -> None:
    """Makes the model and starts an automatic campaign.

    Raises:
        InvalidArgumentError: Patch, strategy or counts do not fit the volume.
    """
    client.create_model(MODEL, classes=[0, CLASS], architecture="unet2d-quarter")
    client.start_campaign(
        CAMPAIGN,
        dataset=DATASET,
        model=MODEL,
        strategy=plan.strategy,
        patch=(1, plan.patch, plan.patch),
        initial_patches=plan.initial,
        batch_patches=plan.batch,
        pool_patches=plan.pool,
        budget_patches=plan.budget,
        region=scene.region,
        evaluate_on=(scene.truth, scene.held_out),
        pretraining=_training(plan.initial_steps, plan.patch),
        initial_training=_training(plan.initial_steps, plan.patch),
        round_training=_training(plan.round_steps, plan.patch),
        seed=plan.seed,
        automatic=True,
    )


def _training(steps: int, patch: int) -> TrainingSettings:
    crop = min(patch, _CROP)
    return TrainingSettings(steps=steps, batch_size=_BATCH_SIZE, patch=shape_proto((1, crop, crop)))
