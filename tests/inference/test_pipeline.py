import threading

import numpy as np
import pytest
import torch

from biosegment.client.errors import JobCancelledError, NotFoundError
from biosegment.client.geometry import BlockGrid, Box
from biosegment.inference.child import tiles
from biosegment.inference.child.evaluate import measure
from biosegment.inference.child.predict import Predictor, predict
from biosegment.inference.child.region import predict_box
from biosegment.inference.child.segment import Pipeline
from biosegment.inference.views import views_of
from biosegment.nets.architectures import build

SHAPE = (3, 70, 90)


@pytest.fixture
def predictor(volume):
    torch.manual_seed(0)
    module = build("unet2d", {"feature_maps": 2, "levels": 1}, 2).eval()
    module.set_input_statistics(0.5, 0.25)
    made = Predictor(module, (0, 7), 1 << 14)
    # As many voxels of one class as of the other.
    with torch.inference_mode():
        logits = module(made.tensor(volume[None]))
        module.head.bias[1] += (logits[:, 0] - logits[:, 1]).median()
    return made


@pytest.fixture
def volume():
    return np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)


def whole(predictor, volume):
    box = Box.of_shape(SHAPE)
    return predict(predictor, volume, origin=(0, 0, 0), shape=SHAPE, box=box)


class Store:
    def __init__(self, volume, broken=()):
        self.volume, self.broken = volume, broken
        self.written = np.full(SHAPE, 99, np.uint8)
        self.reports = []

    def read(self, box):
        return self.volume[box.slices]

    def write(self, box, labels):
        if box in self.broken:
            raise OSError("disk full")
        self.written[box.slices] = labels

    def run(self, predictor, blocks, check=lambda: None):
        pipeline = Pipeline(predictor, self.read, {"labels": self.write}, SHAPE)
        pipeline.run(blocks, self.reports.append, check)


def numbered(block):
    return list(enumerate(BlockGrid(Box.of_shape(SHAPE), block)))


def test_blocks_make_the_whole(predictor, volume):
    store, blocks = Store(volume), numbered((1, 40, 40))
    store.run(predictor, blocks)
    assert sorted(report["block"] for report in store.reports) == [n for n, _ in blocks]
    assert not [report for report in store.reports if "error" in report]
    expected = whole(predictor, volume)
    assert set(np.unique(expected)) == {0, 7}
    assert (store.written == expected).mean() > 0.999  # ties may fall either way


def test_a_block_that_fails_does_not_keep_the_others_back(predictor, volume):
    blocks = numbered((1, 70, 90))
    store = Store(volume, broken=(blocks[1][1],))
    store.run(predictor, blocks)
    failed = {report["block"]: report["error"] for report in store.reports if "error" in report}
    assert list(failed) == [1]
    assert "disk full" in str(failed[1])
    assert (store.written[1] == 99).all()
    assert set(np.unique(store.written[[0, 2]])) == {0, 7}


def test_an_unreadable_block_is_reported_with_its_own_error(predictor, volume):
    blocks = numbered((1, 70, 90))
    store = Store(volume)
    read = store.read

    def broken(box):
        if box.start[0] == 0:
            raise NotFoundError("The chunk is gone.")
        return read(box)

    store.read = broken
    store.run(predictor, blocks)
    failed = {report["block"]: report["error"] for report in store.reports if "error" in report}
    assert list(failed) == [0]
    assert isinstance(failed[0], NotFoundError)
    assert {report["block"] for report in store.reports} == {0, 1, 2}


def test_the_next_block_is_read_while_one_is_predicted(predictor, volume):
    blocks = numbered((1, 70, 90))
    store = Store(volume)
    second = threading.Event()

    def read(box):
        if box.start[0] == 1:
            second.set()
        return volume[box.slices]

    def check():
        # Called while the first block is in the network.
        assert second.wait(10), "the second block was not read ahead"

    store.read = read
    store.run(predictor, blocks, check)
    assert not [report for report in store.reports if "error" in report]


def test_cancellation_stops_and_reports_no_failure(predictor, volume):
    def check():
        raise JobCancelledError("stop")

    store = Store(volume)
    with pytest.raises(JobCancelledError):
        store.run(predictor, numbered((1, 70, 90)), check)
    assert store.reports == []


def test_evaluation_streams_and_counts_as_the_whole_would(predictor, volume):
    guess = whole(predictor, volume)
    reference = guess.copy()
    reference[0] = 255
    reference[1, :10] = 7 - reference[1, :10]  # swaps 0 and 7
    read = []

    def raw(box):
        read.append(box)
        return volume[box.slices]

    seen = []
    counts = measure(
        predictor,
        raw=raw,
        reference=lambda box: reference[box.slices],
        shape=SHAPE,
        box=Box.of_shape(SHAPE),
        progress=lambda done, total: seen.append((done, total)),
        block=(1, 40, 90),
    )
    assert counts.voxels == 2 * 70 * 90
    wrong = 10 * 90
    assert counts.figures()["accuracy"] == pytest.approx(1 - wrong / counts.voxels, abs=1e-3)
    assert seen[-1] == (volume.size, volume.size)
    assert all(box.start[0] > 0 for box in read), "sections without labels were predicted"


@pytest.mark.parametrize("architecture", ["unet2d", "unet2d-group"])
def test_a_tall_box_is_read_in_parts_and_predicted_as_at_once(volume, monkeypatch, architecture):
    torch.manual_seed(0)
    module = build(architecture, {"feature_maps": 2, "levels": 1}, 2)
    network = Predictor(module.eval(), (0, 7), 1 << 14)
    monkeypatch.setattr(tiles, "_SHEET", (1, 70, 90))
    read = []

    def raw(box):
        read.append(box)
        return volume[box.slices]

    box = Box((0, 11, 20), (3, 60, 71))
    made = predict_box(network, raw, box, shape=SHAPE, output="probabilities")
    expected = predict(
        network, volume, origin=(0, 0, 0), shape=SHAPE, box=box, output="probabilities"
    )
    np.testing.assert_allclose(made, expected, atol=1e-5)
    assert [part.shape[0] for part in read] == [1, 1, 1]


@pytest.mark.parametrize("views", [1, 4])
def test_how_far_a_block_is_is_told_within_it(predictor, volume, monkeypatch, views):
    monkeypatch.setattr("biosegment.inference.child.segment._TELL_SECONDS", 0.0)
    predictor.forward_pixels = 1 << 10
    store, told = Store(volume), []
    shown = views_of(views > 1, False, predictor.module.footprint)
    assert len(shown) == views
    pipeline = Pipeline(
        predictor,
        store.read,
        {"labels": store.write},
        SHAPE,
        shown,
        lambda block, part: told.append((block, part)),
    )
    pipeline.run([(7, Box.of_shape(SHAPE))], store.reports.append, lambda: None)
    assert {block for block, _ in told} == {7}
    parts = [part for _, part in told]
    assert len(parts) > 3
    assert parts == sorted(parts)
    assert parts[0] < 0.5
    assert parts[-1] == pytest.approx(1)


def test_a_forward_that_is_repeated_for_want_of_memory_counts_once(predictor, volume, monkeypatch):
    monkeypatch.setattr("biosegment.inference.child.segment._TELL_SECONDS", 0.0)
    real, calls = predictor.logits, []

    def logits(x, core=None):
        calls.append(x.shape)
        if len(calls) == 2:
            raise RuntimeError("can't allocate memory")
        return real(x, core)

    monkeypatch.setattr(Predictor, "logits", lambda _self, x, core=None: logits(x, core))
    predictor.forward_pixels = 70 * 90
    store, told = Store(volume), []
    pipeline = Pipeline(
        predictor,
        store.read,
        {"labels": store.write},
        SHAPE,
        tell=lambda _block, part: told.append(part),
    )
    pipeline.run([(0, Box.of_shape(SHAPE))], store.reports.append, lambda: None)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)


def test_it_is_told_now_and_then_only(predictor, volume):
    predictor.forward_pixels = 1 << 10
    store, told = Store(volume), []
    pipeline = Pipeline(
        predictor,
        store.read,
        {"labels": store.write},
        SHAPE,
        tell=lambda _block, part: told.append(part),
    )
    pipeline.run([(0, Box.of_shape(SHAPE))], store.reports.append, lambda: None)
    assert len(told) < predictor.forwards
