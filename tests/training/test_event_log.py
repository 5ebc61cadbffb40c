from dataclasses import replace

import pytest

from biosegment.client.errors import JobCancelledError
from biosegment.training.child.early_stopping import EarlyStopping
from biosegment.training.child.event_log import EventLog
from biosegment.training.child.fit import fit
from biosegment.training.child.held_out import split
from biosegment.training.child.settings import HoldOut
from tests.training.training_kit import SETTINGS, Log, network, sampler, samples

pytest.importorskip("tensorboard")
STEPS = replace(SETTINGS, steps=23, hold_out=HoldOut(fraction=0.3, every_steps=4, patience=50))


def run(folder, log, checkpoint=None):
    events = EventLog(lambda name, data: (folder / name).write_bytes(data))
    hooks = log.hooks(log=events)
    kept, held = split(samples(8), 0.3, 7)
    stopping = EarlyStopping(held, (0, 1), STEPS, hooks)
    fit(network(), sampler(kept), STEPS, hooks, checkpoint=checkpoint, stopping=stopping)


def curves(folder):
    """Every curve as TensorBoard's own reader has it: (step, value) in the order of the files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    made = {
        tag: [(event.step, event.value) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }
    return made, {tag: [e.step for e in found.Images(tag)] for tag in found.Tags()["images"]}


def raw_steps(folder, tag):
    """The steps of a curve as they lie in the files, whatever a reader makes of them."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    return [
        event.step
        for path in sorted(folder.iterdir())
        for event in map(Event.FromString, RawEventFileLoader(str(path)).Load())
        if any(value.tag == tag for value in event.summary.value)
    ]


def test_curves_are_complete(tmp_path):
    run(tmp_path, Log())
    scalars, images = curves(tmp_path)
    assert [step for step, _ in scalars["loss"]] == list(range(1, 24))
    assert [step for step, _ in scalars["held_out/iou"]] == [4, 8, 12, 16, 20, 23]
    rates = [rate for _, rate in scalars["learning_rate"]]
    assert max(rates) <= SETTINGS.learning_rate
    assert rates[-1] < rates[3]
    assert images["held_out/0/raw"] == [0]
    assert images["held_out/1/predicted"] == [4, 8, 12, 16, 20, 23]


def test_a_run_that_was_cut_off_leaves_no_gap_and_no_double(tmp_path):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    whole.mkdir()
    torn.mkdir()
    run(whole, Log())

    class KilledError(Exception):
        pass

    class Dying(Log):
        def progress(self, step, loss):
            super().progress(step, loss)
            if step == 14:
                raise KilledError

    dying = Dying()
    with pytest.raises(KilledError):
        run(torn, dying)
    # What was written for a checkpoint that was never stored is written again.
    assert len(dying.checkpoints) == 2
    stopped = Log(cancel_at=13)
    with pytest.raises(JobCancelledError):
        run(torn, stopped, checkpoint=dying.checkpoints[0])
    run(torn, Log(), checkpoint=stopped.checkpoints[-1])
    expected, found = curves(whole)[0], curves(torn)[0]
    assert raw_steps(torn, "loss") == raw_steps(whole, "loss") == list(range(1, 24))
    assert raw_steps(torn, "held_out/iou") == [4, 8, 12, 16, 20, 23]
    for tag, points in expected.items():
        assert found[tag] == [(step, pytest.approx(value, rel=1e-2)) for step, value in points]
