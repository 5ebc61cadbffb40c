import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.label_efficiency import __main__ as command
from benchmarks.label_efficiency.data import Data, Part, binned, load
from benchmarks.label_efficiency.learner import Learner
from benchmarks.label_efficiency.plan import Start, parse
from benchmarks.label_efficiency.protocol import FULL, REDUCED, Effort
from benchmarks.label_efficiency.report import write
from benchmarks.label_efficiency.store import Curve, Round, Store
from benchmarks.label_efficiency.trial import Trial
from biosegment.acquisition.strategies.table import strategies
from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError
from biosegment.client.geometry import Box
from biosegment.phantom import Generator

TINY = replace(
    REDUCED,
    binning=1,
    patch=16,
    initial=3,
    batch=2,
    pool=40,
    rounds=3,
    feature_maps=2,
    batch_size=2,
    first_effort=Effort(4),
    round_effort=Effort(2, epochs=True),
    pretrain_steps=3,
)


@pytest.fixture(scope="module")
def data():
    shape = (2, 128, 96)
    made = Generator(shape, (40.0, 16.0, 16.0), seed=3).box(Box.of_shape(shape))
    assert 0.01 < made.labels.mean() < 0.5
    whole = Part(made.raw, made.labels)
    return Data("phantom", whole.rows(0, 64), whole.rows(64, 128))


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(data, folder, text, seed=0, told=lambda _curve: None):
    return Trial(data, TINY, parse(text), seed, Store(folder)).run(told)


def test_the_protocols_are_those_of_the_paper_and_of_the_guide():
    assert (FULL.initial, FULL.pool, FULL.batch, FULL.rounds) == (20, 2000, 20, 25)
    assert FULL.labelled(FULL.rounds - 1) == 500
    assert FULL.steps(0) == 500 * 3  # 500 epochs of 20 patches, 8 at a time
    assert FULL.steps(1) == 200 * 5
    assert REDUCED.labelled(REDUCED.rounds - 1) == 200
    assert REDUCED.steps(0) == 500 * 2  # 10 at a time
    assert REDUCED.all_steps == 50 * 200


def test_strategies_of_a_seed_share_the_first_round_and_no_patch_is_labelled_twice(data, tmp_path):
    random, entropy = run(data, tmp_path, "random"), run(data, tmp_path, "entropy")
    assert random.rounds[0] == entropy.rounds[0]
    assert random.rounds[1].chosen != entropy.rounds[1].chosen
    assert run(data, tmp_path, "random", seed=1).rounds[0].chosen != random.rounds[0].chosen
    for curve in (random, entropy):
        assert [done.labelled for done in curve.rounds] == [3, 5, 7]
        chosen = [index for done in curve.rounds for index in done.chosen]
        assert len(set(chosen)) == 7
        assert all(0 <= done.iou <= 1 for done in curve.rounds)


def test_a_trial_that_is_cut_off_goes_on_to_the_same_end(data, tmp_path):
    through = run(data, tmp_path / "through", "entropy+pretrain")

    class CutError(Exception):
        pass

    def cut(curve):
        if len(curve.rounds) == 2:
            raise CutError

    with pytest.raises(CutError):
        run(data, tmp_path / "cut", "entropy+pretrain", told=cut)
    assert len(Store(tmp_path / "cut").curve("entropy+pretrain", 0).rounds) == 2
    told = []
    again = run(data, tmp_path / "cut", "entropy+pretrain", told=told.append)
    assert len(told) == 1
    assert [done.chosen for done in again.rounds] == [done.chosen for done in through.rounds]
    assert [done.iou for done in again.rounds] == pytest.approx(
        [done.iou for done in through.rounds], abs=1e-3
    )
    assert run(data, tmp_path / "cut", "entropy+pretrain", told=told.append) == again
    assert len(told) == 1


def test_weights_that_were_lost_begin_the_trial_again(data, tmp_path):
    def cut(curve):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path, "random", told=cut)
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(b"damaged")
    assert len(run(data, tmp_path, "random").rounds) == 3


def test_everything_labelled_at_once_is_the_reference(data, tmp_path):
    (done,) = run(data, tmp_path, "all").rounds
    assert done.labelled == 40
    assert done.chosen == tuple(range(40))


@pytest.mark.parametrize("name", sorted(set(strategies()) - {"random", "entropy"}))
def test_every_strategy_of_the_table_runs(name, data, tmp_path):
    chosen = [index for done in run(data, tmp_path, name).rounds for index in done.chosen]
    assert len(set(chosen)) == 7
    assert list((tmp_path / "cache").glob("trial-*")) == []


def test_the_first_batch_can_come_from_the_pretrained_embedding(data, tmp_path):
    typical = run(data, tmp_path, "typicality>random+pretrain")
    random = run(data, tmp_path, "random+pretrain")
    assert typical.rounds[0].chosen != random.rounds[0].chosen
    half = run(data, tmp_path, "random>typicality>random+pretrain").rounds[0].chosen
    # One of three at random, and two that are typical beside it.
    assert half[0] == random.rounds[0].chosen[0]
    assert len(set(half)) == 3
    assert half[1:] != random.rounds[0].chosen[1:]


def test_the_first_batch_can_be_chosen_by_what_its_beginning_taught(data, tmp_path, monkeypatch):
    trained = []
    train = Learner.train

    def noted(self, start, labelled, *, steps, rate, seed):
        trained.append((len(labelled), steps))
        train(self, start, labelled, steps=steps, rate=rate, seed=seed)

    monkeypatch.setattr(Learner, "train", noted)
    guided = run(data, tmp_path, "random>entropy>entropy+pretrain")
    # The first of three, then all three, then the others.
    assert trained == [(1, 4), (3, 4), (5, 6), (7, 8)]
    assert guided.rounds[0].chosen[0] == run(data, tmp_path, "random+pretrain").rounds[0].chosen[0]


def test_the_report_says_what_the_curves_say(data, tmp_path):
    for text in ("random", "entropy", "all"):
        for seed in (0, 1):
            run(data, tmp_path, text, seed)
    curves = Store(tmp_path).curves()
    summary = write(tmp_path, "phantom", TINY, curves)
    json.dumps(summary)
    with (tmp_path / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["strategy", "seed", "labelled", "iou", "seconds"]
    assert len(rows) == 2 * 3 + 2 * 3 + 2
    assert set(summary["strategies"]) == {"random", "entropy"}
    last = [float(r["iou"]) for r in rows if r["strategy"] == "random" and r["labelled"] == "7"]
    assert summary["strategies"]["random"]["iou"] == pytest.approx(np.mean(last), abs=1e-4)
    page = (tmp_path / "report.md").read_text()
    assert "## Against random" in page
    assert "Full supervision, `all`" in page
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_curves_of_strategies_that_are_not_installed_are_still_reported(tmp_path):
    store = Store(tmp_path)
    store.write_curve(Curve("of_another_package+pretrain", 0, (Round(3, 0.5, 1.0, (1, 2, 3)),)))
    summary = write(tmp_path, "phantom", TINY, store.curves())
    assert summary["strategies"]["of_another_package+pretrain"]["iou"] == 0.5


def test_plans_are_read_and_wrong_ones_refused():
    plan = parse("random>entropy:max_overlap=0.5+pretrain")
    assert (plan.first, plan.strategy, plan.start) == (("random",), "entropy", Start())
    assert parse("entropy").start is None
    bounded = parse("entropy+pretrain:steps=2000;cut=700").start
    assert bounded == Start(steps=2000, cut=700)
    assert parse("random>entropy>entropy+pretrain:minutes=0.5").start == Start(minutes=0.5)
    assert plan.make(0.25).parameters.max_overlap == 0.5
    assert [first.parameters.max_overlap for first in plan.make_first(0.25)] == [0.25]
    assert parse("random").make(0.25).parameters.max_overlap == 0.25
    for wrong in ("nonsense", "random+magic", "entropy:nonsense=1", "all:max_overlap=0.5", ""):
        with pytest.raises(InvalidArgumentError):
            parse(wrong)
    with pytest.raises(InvalidArgumentError, match="pretrain"):
        parse("entropy>random")


def test_binning_takes_means_of_voxels_and_majorities_of_labels():
    raw = np.array([[[0, 10, 7], [20, 31, 7], [9, 9, 9]]], np.uint8)
    labels = np.array([[[2, 1, 0], [1, 1, 0], [0, 0, 0]]], np.uint8)
    made = binned(Part(raw, labels), 2)
    assert made.raw.tolist() == [[[15]]]
    assert made.labels.tolist() == [[[1]]]
    draw = binned(Part(raw[:, :2, :2], np.array([[[0, 1], [1, 0]]], np.uint8)), 2)
    assert draw.labels.tolist() == [[[0]]]
    assert draw.raw.dtype == np.uint8


def test_halves_do_not_touch_and_choosing_leaves_the_test_half_alone(tmp_path):
    import tifffile

    (tmp_path / "set").mkdir()
    y, x = np.mgrid[:32, :12].astype(np.uint8)
    tifffile.imwrite(tmp_path / "set" / "raw.tif", np.stack([y, x]))
    tifffile.imwrite(tmp_path / "set" / "mito.tif", np.stack([y % 2, x % 2]))
    for tune, train, test in (
        (False, ((0, 16), (0, 12)), ((16, 32), (0, 12))),
        (True, ((0, 16), (0, 8)), ((0, 16), (8, 12))),
    ):
        made = load("set", 1, tune=tune, root=tmp_path)
        assert made.classes == (0, 1)
        for part, extents in ((made.train, train), (made.test, test)):
            for plane, (low, high) in zip(part.raw, extents, strict=True):
                assert np.unique(plane).tolist() == list(range(low, high))


def test_missing_data_is_said_in_one_sentence(tmp_path, monkeypatch, capsys):
    with pytest.raises(FailedPreconditionError, match="DATA_ROOT"):
        load("nowhere", 1, root=tmp_path)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    assert command.main(["--data", "nowhere", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1


def test_too_little_room_is_said(data, tmp_path):
    crowded = replace(TINY, initial=39, max_overlap=0.0)
    with pytest.raises(FailedPreconditionError, match="more data"):
        Trial(data, crowded, parse("random"), 0, Store(tmp_path)).run(lambda _curve: None)


def test_seeds_are_read():
    assert command.seeds_of("0-2,5") == [0, 1, 2, 5]


@pytest.mark.parametrize(
    "text",
    ["pretrain:epochs=3", "pretrain:steps=0", "pretrain:steps=1.5", "pretrain:cut=x", "pretrained"],
)
def test_a_start_that_makes_no_sense_is_refused(text):
    with pytest.raises(InvalidArgumentError, match="pretrain"):
        parse(f"entropy+{text}")


def test_starts_of_different_lengths_are_different_starts(data, tmp_path):
    usual = run(data, tmp_path, "random+pretrain")
    named = run(data, tmp_path, "random+pretrain:steps=3")
    # The protocol's own number of steps, named: the same weights, the same curve.
    assert [done.iou for done in named.rounds] == [done.iou for done in usual.rounds]
    cut = run(data, tmp_path, "random+pretrain:steps=60;cut=2")
    longer = run(data, tmp_path, "random+pretrain:steps=60")
    assert cut.rounds[0].chosen == longer.rounds[0].chosen
    trials = {path.stem for path in (tmp_path / "trials").iterdir()}
    assert len(trials) == 4
    caches = {path.stem for path in (tmp_path / "cache").iterdir() if "pretrained" in path.stem}
    assert {"pretrained60-cut2-dropout0-seed0", "pretrained60-dropout0-seed0"} <= caches
