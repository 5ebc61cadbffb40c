import asyncio
import zlib

import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration

from biosegment.client.arrays import pack_mask, unpack_mask
from biosegment.client.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    OutsideVolumeError,
)
from biosegment.client.geometry import Box
from biosegment.registry.annotations import masks
from biosegment.registry.tables.catalog import LabelClassRow
from biosegment.v1 import annotations_pb2 as pb
from biosegment.v1 import events_pb2, types_pb2
from tests.registry.record_kit import DATASET, PROJECT, SHAPE, Record


def _mask(value: int, shape: tuple[int, int, int] = (1, 8, 8)) -> np.ndarray:
    return np.full(shape, value, np.uint8)


async def test_a_commit_is_recorded_and_told(record: Record) -> None:
    mask = _mask(255)
    mask[0, :2], mask[0, 2, :3], mask[0, 3, 0] = 1, 2, 254
    made = await record.commit(
        mask,
        (1, 4, 8),
        time_spent=Duration(seconds=12, nanos=500_000_000),
        strokes=3,
        source_tool="napari",
    )
    assert made.name == f"{DATASET}/annotations/1"
    assert made.revision == 1
    assert made.author == "local"
    assert list(made.classes) == [1, 2]
    assert made.labelled_voxels == 19
    assert not made.mask
    request = pb.GetAnnotationRequest(name=made.name)
    got = (await record.stubs.annotations.GetAnnotation(request)).annotation
    assert np.array_equal(unpack_mask(got.mask, got.compression, mask.shape), mask)
    assert got.time_spent == Duration(seconds=12, nanos=500_000_000)
    assert (got.strokes, got.source_tool) == (3, "napari")
    assert (await record.dataset()).revision == 1
    (event,) = await record.events("annotation.committed")
    assert events_pb2.AnnotationCommitted.FromString(event) == events_pb2.AnnotationCommitted(
        annotation=made.name,
        dataset=DATASET,
        revision=1,
        box=Box.at((1, 4, 8), (1, 8, 8)).to_proto(),
    )


async def test_plain_masks_are_kept_compressed(record: Record) -> None:
    box = Box.at((0, 0, 0), (1, 16, 16))
    annotation = pb.Annotation(box=box.to_proto(), mask=bytes([1]) * 256)
    request = pb.CommitAnnotationRequest(parent=DATASET, annotation=annotation)
    await record.stubs.annotations.CommitAnnotation(request)
    (got,) = await record.log()
    assert got.compression == types_pb2.COMPRESSION_ZLIB
    assert zlib.decompress(got.mask) == annotation.mask


async def test_a_repeat_gets_the_first_answer(record: Record) -> None:
    first = await record.commit(_mask(1), request_id="r1")
    assert await record.commit(_mask(1), request_id="r1") == first
    undone = await record.undo(1, "r2")
    assert await record.undo(1, "r2") == undone
    assert (await record.dataset()).revision == 2
    with pytest.raises(InvalidArgumentError, match="used for another request"):
        await record.undo(1, "r1")


async def test_a_request_sent_many_times_at_once_is_done_once(record: Record) -> None:
    calls = [record.commit(_mask(1), request_id="r1") for _ in range(6)]
    first, *others = await asyncio.gather(*calls)
    assert all(other == first for other in others)
    assert (await record.dataset()).revision == 1


async def test_concurrent_commits_leave_no_gaps(record: Record) -> None:
    made = await asyncio.gather(*(record.commit(_mask(i % 3)) for i in range(20)))
    assert sorted(annotation.revision for annotation in made) == list(range(1, 21))
    assert [annotation.revision for annotation in await record.log(7)] == list(range(1, 21))
    assert (await record.dataset()).revision == 20


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"mask": b""}, "needs 64"),
        ({"mask": b"\x78\x9cgarbage"}, "damaged"),
        ({"mask": pack_mask(_mask(1))[:5]}, "needs 64"),
        ({"mask": pack_mask(_mask(1, (1, 8, 9)))}, "has more bytes"),
        ({"mask": pack_mask(_mask(9))}, "no label class of value 9"),
        ({"compression": 77}, "Compression 77"),
        ({"box": types_pb2.Box()}, "holds no voxels"),
        ({"box": Box((0, 0, 0), (1, 8, 8), 1).to_proto()}, "level 0"),
        ({"base_revision": 1}, "base_revision is 1"),
        ({"base_revision": -1}, "base_revision is -1"),
        ({"strokes": -1}, "strokes"),
        ({"time_spent": Duration(seconds=-1)}, "time_spent"),
        ({"time_spent": Duration(seconds=2**62)}, "time_spent"),
        ({"source_tool": "x" * 300}, "source_tool"),
        ({"box": Box((0, 0, 0), (1000, 1000, 1000)).to_proto()}, "split it"),
        ({"proposal": "projects/p/proposals/1"}, "is not the full name"),
    ],
)
async def test_bad_commits_are_refused_in_a_sentence(
    record: Record, fields: dict, sentence: str
) -> None:
    good = {
        "box": Box.at((0, 0, 0), (1, 8, 8)).to_proto(),
        "mask": pack_mask(_mask(1)),
        "compression": types_pb2.COMPRESSION_ZLIB,
    }
    request = pb.CommitAnnotationRequest(
        parent=DATASET, annotation=pb.Annotation(**{**good, **fields})
    )
    with pytest.raises(InvalidArgumentError, match=sentence):
        await record.stubs.annotations.CommitAnnotation(request)
    assert (await record.dataset()).revision == 0
    assert not await record.events("annotation.committed")


async def test_boxes_outside_and_data_sets_that_are_none(record: Record) -> None:
    with pytest.raises(OutsideVolumeError, match=r"leaves the data set .* 4 × 32 × 32"):
        await record.commit(_mask(1), (0, 30, 0))
    request = pb.ListAnnotationsRequest(parent="projects/p/datasets/none")
    with pytest.raises(NotFoundError, match="no data set"):
        await record.stubs.annotations.ListAnnotations(request)
    name = f"{DATASET}/annotations/5"
    with pytest.raises(NotFoundError, match="no annotation"):
        await record.stubs.annotations.GetAnnotation(pb.GetAnnotationRequest(name=name))
    with pytest.raises(NotFoundError, match="no annotation"):
        await record.undo(5)


async def test_masks_too_large_for_one_row_are_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 254, (5, 1024, 1024), np.uint8)
    box = Box.of_shape((5, 1024, 1024))
    with pytest.raises(InvalidArgumentError, match="split its box"):
        masks.read_mask(noise.tobytes(), types_pb2.COMPRESSION_NONE, box)
    assert masks.MAX_MASK_BYTES > 3 << 20, "the pieces that the SDK makes fit"


async def test_the_largest_mask_can_be_sent_and_read(record: Record) -> None:
    """One byte above the clients' limit of a message would make a commit unreadable."""
    async with record.database.write() as session:
        for value in range(3, 254):
            session.add(
                LabelClassRow(
                    project=PROJECT, value=value, display_name="", color="#000000", ontology_term=""
                )
            )
    shape = (4, 1024, 1004)
    await record.import_dataset("large", shape)
    noise = np.random.default_rng(0).integers(0, 254, shape, np.uint8)
    annotation = pb.Annotation(box=Box.of_shape(shape).to_proto(), mask=noise.tobytes())
    request = pb.CommitAnnotationRequest(parent="projects/p/datasets/large", annotation=annotation)
    made = (await record.stubs.annotations.CommitAnnotation(request)).annotation
    answer = await record.stubs.annotations.GetAnnotation(pb.GetAnnotationRequest(name=made.name))
    assert masks.MAX_MASK_BYTES - 20_000 < len(answer.annotation.mask) <= masks.MAX_MASK_BYTES
    assert np.array_equal(unpack_mask(answer.annotation.mask, 2, shape), noise)


async def test_pages_end_by_count_and_by_size(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    for _ in range(6):
        await record.commit(random.integers(0, 3, SHAPE, np.uint8))
    listing = record.stubs.annotations.ListAnnotations
    one = await listing(pb.ListAnnotationsRequest(parent=DATASET, page_size=4))
    assert [a.revision for a in one.annotations] == [1, 2, 3, 4]
    assert not any(a.mask for a in one.annotations)
    size = len((await record.log())[0].mask)
    monkeypatch.setattr("biosegment.registry.annotations.log.PAGE_BYTES", int(size * 2.5))
    request = pb.ListAnnotationsRequest(parent=DATASET, with_masks=True)
    pages = []
    while True:
        answer = await listing(request)
        pages.append([a.revision for a in answer.annotations])
        assert all(a.mask for a in answer.annotations)
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert pages == [[1, 2], [3, 4], [5, 6]]
    monkeypatch.setattr("biosegment.registry.annotations.log.PAGE_BYTES", 1)
    assert [a.revision for a in await record.log()] == [1, 2, 3, 4, 5, 6]


async def test_a_log_is_read_between_revisions(record: Record) -> None:
    for _ in range(5):
        await record.commit(_mask(1))
    listing = record.stubs.annotations.ListAnnotations
    for with_masks in (False, True):
        request = pb.ListAnnotationsRequest(
            parent=DATASET, after_revision=1, until_revision=4, page_size=2, with_masks=with_masks
        )
        first = await listing(request)
        request.page_token = first.next_page_token
        second = await listing(request)
        found = [a.revision for a in (*first.annotations, *second.annotations)]
        assert found == [2, 3, 4]
        assert not second.next_page_token
    empty = await listing(
        pb.ListAnnotationsRequest(parent=DATASET, after_revision=9, with_masks=True)
    )
    assert not empty.annotations
    assert not empty.next_page_token


async def test_an_undo_uncovers_what_lay_below(record: Record) -> None:
    await record.commit(_mask(1))
    await record.commit(_mask(2, (1, 4, 16)), (0, 4, 0))
    undone = await record.undo(2)
    assert undone.revision == 3
    assert undone.undone_annotation == f"{DATASET}/annotations/2"
    got = (await record.log())[2]
    mask = unpack_mask(got.mask, got.compression, (1, 4, 16))
    assert (mask[0, :, :8] == 1).all()
    assert (mask[0, :, 8:] == 254).all()
    view = await record.view()
    assert (view[0, :8, :8] == 1).all()
    assert (view == 255).sum() == view.size - 64


async def test_an_undo_leaves_later_paint_alone(record: Record) -> None:
    await record.commit(_mask(1))
    await record.commit(_mask(2))
    undone = await record.undo(1)
    assert undone.labelled_voxels == 0
    mask = unpack_mask((await record.log())[2].mask, 2, (1, 8, 8))
    assert (mask == 255).all()
    # With the first gone, undoing the second uncovers nothing.
    await record.undo(2)
    assert (await record.view() == 255).all()


async def test_undoing_an_undo_brings_back(record: Record) -> None:
    await record.commit(_mask(1))
    await record.undo(1)
    with pytest.raises(FailedPreconditionError, match="undone already"):
        await record.undo(1)
    await record.undo(2)
    assert (await record.view() == 1).sum() == 64
    with pytest.raises(FailedPreconditionError, match="undone already"):
        await record.undo(2)
    await record.undo(1)
    assert (await record.view() == 255).all()


async def test_of_two_undos_at_once_one_is_refused(record: Record) -> None:
    await record.commit(_mask(1))
    answers = await asyncio.gather(*(record.undo(1) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(answer, FailedPreconditionError) for answer in answers) == 3
    assert (await record.dataset()).revision == 2
    assert (await record.view() == 255).all()


async def test_undos_and_commits_at_once_keep_the_view_true(record: Record) -> None:
    for value in (1, 2):
        await record.commit(_mask(value, SHAPE))
    calls = [record.undo(2), record.commit(_mask(0)), record.undo(1), record.commit(_mask(2))]
    await asyncio.gather(*calls)
    view = await record.view()
    assert (view[0, :8, :8] != 255).all()
    view[0, :8, :8] = 255
    assert (view == 255).all()
