"""The steps between and after the blocks: one worker, a few numbers for each instance."""

from typing import Any

from biosegment.client import names
from biosegment.client.errors import NotFoundError
from biosegment.client.stubs import SyncStubs
from biosegment.inference.instances.child import table
from biosegment.inference.instances.child.measure import total
from biosegment.inference.instances.child.merge import merge
from biosegment.inference.instances.child.parts import FINAL, JOIN, LABEL
from biosegment.inference.instances.child.session import close, session
from biosegment.inference.instances.recipe import Places, Recipe
from biosegment.runtime import objects
from biosegment.runtime.arrays import build_pyramid
from biosegment.runtime.child import ChildContext
from biosegment.v1 import registry_pb2


def _progress(context: ChildContext, done: int, total_: int, stage: str) -> None:
    context.check()
    context.report({"done": done, "total": total_, "stage": stage})


def merge_all(context: ChildContext, *, connection: str, places: Places, recipe: Recipe) -> None:
    """Settles which fragments are one, and leaves each block the final ids of its own."""
    blocks = len(recipe.grid)
    _progress(context, 0, 2 * blocks, "merging")
    parts = session(connection, places).parts
    merged = merge(
        parts.every(LABEL, blocks),
        (found["pairs"] for found in parts.every(JOIN, blocks)),
        min_voxels=recipe.min_voxels,
        fill_holes=recipe.fill_holes,
    )
    for block in range(blocks):
        _progress(context, blocks + block, 2 * blocks, "merging")
        parts.write(FINAL, block, ids=merged.table(block))
    parts.write_classes(merged.classes, merged.dropped)


def tabulate(
    context: ChildContext,
    *,
    connection: str,
    places: Places,
    recipe: Recipe,
    dataset: str,
    segmentation: str,
) -> dict[str, Any]:
    """Writes the tables, unless this job has written them already.

    Args:
        context: Of the child.
        connection: Path of the connection file.
        places: Where everything is.
        recipe: How.
        dataset: Whose metadata to join; may be empty.
        segmentation: What the source is, for the table; may be empty.

    Returns:
        instances, dropped and voxels.
    """
    job = session(connection, places)
    try:
        note = table.note_of(objects.read(job.stubs, places.parquet))
    except NotFoundError:
        note = {}
    if note.get("job") == places.job:
        return note
    _progress(context, 0, 1, "table")
    classes, dropped = job.parts.classes()
    whole = total(job.parts.every_pieces(len(recipe.grid)), len(classes))
    measured = table.columns(
        whole, classes, _class_names(job.stubs, places), recipe.voxel_size, recipe.shape
    )
    note = {
        "job": places.job,
        "volume": places.volume,
        "instances": len(classes),
        "dropped": dropped,
        "voxels": int(whole.voxels.sum()),
    }
    facts = _facts(job.stubs, places, recipe, dataset, segmentation)
    made = table.table(measured, facts, note)
    objects.write(job.stubs, places.csv, table.to_csv(made))
    # Last, because it says that both are there.
    objects.write(job.stubs, places.parquet, table.to_parquet(made))
    return note


def _class_names(stubs: SyncStubs, places: Places) -> dict[int, str]:
    request = registry_pb2.ListLabelClassesRequest(parent=names.project_of(places.volume))
    answer = stubs.registry.ListLabelClasses(request)
    return {label.value: label.display_name for label in answer.label_classes}


def _facts(
    stubs: SyncStubs, places: Places, recipe: Recipe, dataset: str, segmentation: str
) -> dict[str, str | float]:
    """Columns that say where the rows are from."""
    facts: dict[str, str | float] = {
        "volume": places.volume,
        "source_volume": places.source,
        "segmentation": segmentation,
        "dataset": dataset,
    }
    for axis, size in zip("zyx", recipe.voxel_size, strict=True):
        facts[f"voxel_size_{axis}_nm"] = size
    if dataset:
        answer = stubs.registry.GetDataset(registry_pb2.GetDatasetRequest(name=dataset))
        facts["dataset_name"] = answer.dataset.display_name
        for key, value in sorted(answer.dataset.metadata.items()):
            facts.setdefault(f"dataset_{key}", value)
    return facts


def fill_levels(context: ChildContext, *, connection: str, places: Places) -> None:
    """Fills the coarser levels of the instance volume."""
    volume = session(connection, places).volume
    build_pyramid(volume, lambda done, units: _progress(context, done, units, "pyramid"))


def clean(context: ChildContext, *, connection: str, places: Places) -> None:
    """Removes the intermediate objects."""
    context.check()
    session(connection, places).parts.delete()
    close()
