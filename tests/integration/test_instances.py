"""From imported labels to instances, a table and files, and through kill -9 at each step."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from biosegment.client.errors import AlreadyExistsError, FailedPreconditionError, NotFoundError
from biosegment.v1 import jobs_pb2, storage_pb2
from tests.integration.conftest import World, wait_until

SUCCEEDED = jobs_pb2.JOB_STATE_SUCCEEDED
SHAPE = (487, 101, 103)
VOXEL = (40.0, 8.0, 8.0)


@dataclass(frozen=True, slots=True)
class Labels:
    """Imported labels of many blocks, and what an undisturbed job makes of them."""

    volume: str
    values: NDArray[np.uint8]
    instances: NDArray[np.uint32]
    rows: list[dict[str, str]]


def find(world: World, name: str, source: str, **more: Any) -> jobs_pb2.Job:
    options: dict[str, Any] = {"fill_holes": True, "min_voxels": 30, "block": (16, 101, 103)}
    return world.client.instances(source, volume=name, **options, **more)


def rows(world: World, volume: str) -> list[dict[str, str]]:
    """The table without the one column that differs from job to job."""
    text = world.client.instance_table(volume).decode()
    found = list(csv.DictReader(io.StringIO(text)))
    for row in found:
        assert row.pop("volume") == f"projects/default/volumes/{volume}"
    return found


@pytest.fixture(scope="module")
def labels(world: World) -> Labels:
    """Blobs with holes, of two classes, and a snake through every block."""
    client = world.client
    field = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(SHAPE), (2, 3, 3))
    values = (np.abs(field) > np.quantile(np.abs(field), 0.7)).astype(np.uint8)
    values[:, :, 60:] *= 2
    values[:, 50:52, 30:32] = 1
    tifffile.imwrite(world.folder / "cells-raw.tif", values * 90)
    tifffile.imwrite(world.folder / "cells.tif", values)
    client.put_label_class(2, "vesicles")
    raw = world.folder / "cells-raw.tif"
    facts = {"organism": "mouse", "modality": "FIB-SEM"}
    client.wait(client.import_volume(raw, dataset="cells", voxel_size=VOXEL, metadata=facts))
    ended = client.wait(client.import_labels(world.folder / "cells.tif", dataset="cells"))
    volume = ended.result.import_result.volume
    job = client.wait(find(world, "undisturbed", volume))
    assert job.blocks.total > 10
    return Labels(
        volume,
        values,
        client.read("projects/default/volumes/undisturbed"),
        rows(world, "undisturbed"),
    )


def test_the_instances_are_those_of_the_whole_volume(labels: Labels) -> None:
    expected = cc3d.connected_components(labels.values, connectivity=26)
    sizes = np.bincount(expected.reshape(-1))
    expected[sizes[expected] < 30] = 0
    before = expected > 0
    assert np.array_equal(labels.instances > 0, ndimage.binary_fill_holes(before))
    pairs = np.unique(np.stack([expected[before], labels.instances[before]]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1] > 20
    assert np.unique(labels.instances[:, 50:52, 30:32]).size == 1


def test_the_table_tells_of_every_instance_and_of_the_data_set(
    world: World, labels: Labels, tmp_path: Path
) -> None:
    found = {int(row["id"]): row for row in labels.rows}
    count = int(labels.instances.max())
    assert list(found) == list(range(1, count + 1))
    sizes = np.bincount(labels.instances.reshape(-1))
    for number, row in found.items():
        assert int(row["voxels"]) == sizes[number]
        assert float(row["volume_um3"]) == pytest.approx(sizes[number] * 40 * 8 * 8 / 1e9)
        assert row["class_name"] == {"1": "mitochondria", "2": "vesicles"}[row["class"]]
        assert (row["dataset"], row["dataset_organism"], row["dataset_modality"]) == (
            "projects/default/datasets/cells",
            "mouse",
            "FIB-SEM",
        )
        assert float(row["voxel_size_z_nm"]) == 40
    (tmp_path / "t.parquet").write_bytes(
        world.client.instance_table("undisturbed", format="parquet")
    )
    parquet = pq.read_table(tmp_path / "t.parquet")
    assert parquet.num_rows == count
    assert parquet["surface_um2"].to_pylist() == [float(row["surface_um2"]) for row in labels.rows]


def test_an_instance_volume_is_exported_whole(world: World, labels: Labels) -> None:
    path = world.folder / "instances.tif"
    world.client.wait(world.client.export("undisturbed", path))
    exported = tifffile.imread(path)
    assert exported.dtype == np.uint32
    assert np.array_equal(exported, labels.instances)


def test_nothing_intermediate_is_left(world: World, labels: Labels) -> None:
    client = world.client
    assert {volume.name.rpartition("/")[2] for volume in client.volumes()} >= {"undisturbed"}
    assert not [v.name for v in client.volumes() if v.name.endswith("-fragments")]
    store = world.platform.home.store / "default" / "objects" / "instances" / "undisturbed"
    files = sorted(path.name for path in store.rglob("*") if path.is_file())
    assert files == ["table.csv", "table.parquet"]
    assert client.volume("undisturbed").state == storage_pb2.VOLUME_STATE_READY


@pytest.mark.parametrize("phase", [0, 1, 2])
def test_a_worker_killed_in_any_phase_changes_nothing(
    world: World, labels: Labels, phase: int
) -> None:
    client, name = world.client, f"killed-{phase}"
    job = find(world, name, labels.volume)

    def in_the_middle() -> bool:
        now = client.job(job.name)
        assert now.state not in (SUCCEEDED, jobs_pb2.JOB_STATE_FAILED)
        return now.blocks.phase == phase and now.blocks.done >= 2

    wait_until(in_the_middle)
    with pytest.raises(FailedPreconditionError, match="not complete"):
        client.instance_table(name)
    world.platform.kill("inference")
    assert client.volume(name).state == storage_pb2.VOLUME_STATE_WRITING
    ended = client.wait(job, timeout=120)
    assert (ended.state, ended.blocks.quarantined) == (SUCCEEDED, 0)
    assert np.array_equal(client.read(f"projects/default/volumes/{name}"), labels.instances)
    assert rows(world, name) == labels.rows


def test_a_block_that_cannot_be_read_is_named_and_tried_again_when_it_can(
    world: World, labels: Labels
) -> None:
    client = world.client
    folder = world.platform.home.store / "default" / "cells-reference.zarr" / "0"
    shard = sorted(path for path in (folder / "c").rglob("*") if path.is_file())[0]
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    try:
        job = find(world, "poisoned", labels.volume)
        with pytest.raises(FailedPreconditionError, match=r"of \d+ blocks failed .*job retry"):
            client.wait(job, timeout=120)
        failed = client.job(job.name)
        assert failed.blocks.phase == 0
        assert 0 < failed.blocks.quarantined < failed.blocks.total
        assert client.volume("poisoned").state == storage_pb2.VOLUME_STATE_WRITING
    finally:
        shard.write_bytes(whole)
    assert client.wait(client.retry(job.name), timeout=120).state == SUCCEEDED
    assert rows(world, "poisoned") == labels.rows


def test_every_service_killed_at_once_changes_nothing(world: World, labels: Labels) -> None:
    client = world.client
    job = find(world, "all-killed", labels.volume)
    wait_until(lambda: client.job(job.name).blocks.phase == 1)
    for name in ("inference", "storage", "registry", "nats"):
        world.platform.kill(name)
    assert client.wait(job, timeout=150).state == SUCCEEDED
    assert np.array_equal(client.read("projects/default/volumes/all-killed"), labels.instances)
    assert rows(world, "all-killed") == labels.rows


def test_a_job_that_is_finished_twice_finds_its_work_done(world: World, labels: Labels) -> None:
    """A worker may die between the clean-up and its last word; the next one must not mind."""
    from biosegment.inference.instances.child import whole
    from biosegment.inference.instances.recipe import places_of, recipe_of

    client = world.client
    job = next(j for j in client.jobs() if j.instances_spec.volume.endswith("/undisturbed"))
    recipe = recipe_of(job.instances_spec, client.volume(labels.volume))
    place = places_of(job.name, job.instances_spec)

    class Context:
        def check(self) -> None: ...
        def report(self, value: Any) -> None: ...

    arguments = {"connection": str(world.platform.connection_path), "places": place}
    note = whole.tabulate(
        Context(),  # type: ignore[arg-type]
        recipe=recipe,
        dataset="",
        segmentation="",
        **arguments,
    )
    assert note["instances"] == job.result.instances_result.instances
    whole.clean(Context(), **arguments)  # type: ignore[arg-type]
    assert rows(world, "undisturbed") == labels.rows


def test_what_cannot_be_done_is_said_at_once(world: World, labels: Labels) -> None:
    client = world.client
    with pytest.raises(AlreadyExistsError, match="already a volume"):
        find(world, "undisturbed", labels.volume)
    with pytest.raises(FailedPreconditionError, match="holds no class values"):
        find(world, "x", "cells-raw")
    with pytest.raises(FailedPreconditionError, match="shows the annotations"):
        find(world, "x", "cells-labels")
    with pytest.raises(NotFoundError, match="no segmentation"):
        find(world, "x", "cells/none")
    with pytest.raises(NotFoundError, match="no table"):
        client.instance_table("cells-raw")


def test_a_segmentation_is_taken_by_its_name(world: World) -> None:
    client = world.client
    client.wait(client.segment("unet/1", "em", segmentation="for-instances"))
    job = client.wait(client.instances("em/for-instances", connectivity=6, split_nm=40.0))
    result = job.result.instances_result
    assert result.volume == "projects/default/volumes/em-for-instances-inst"
    made, classes = (
        client.read(result.volume),
        client.read("projects/default/volumes/em-for-instances"),
    )
    assert np.array_equal(made > 0, classes > 0)
    assert result.instances == made.max() > 0
    assert result.voxels == np.count_nonzero(made)
