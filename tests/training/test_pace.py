"""Runs that keep to a time, and runs that are asked to end."""

from dataclasses import replace
from functools import partial
from itertools import count

import pytest
import torch

from biosegment.client.errors import JobCancelledError
from biosegment.training.child.fit import fit
from biosegment.training.child.module import schedule
from biosegment.training.child.pace import Pace, budgeted
from biosegment.training.child.watch import checkpoint_step
from tests.training.training_kit import SETTINGS, Log, network, sampler, samples, state

BOUNDED = replace(SETTINGS, steps=100, max_seconds=10.0, checkpoint_steps=4)


@pytest.fixture(autouse=True)
def a_second_a_step(monkeypatch):
    """Every step takes one second, by a clock of the test's own."""
    ticks = count()
    pace = partial(Pace, clock=lambda: float(next(ticks)))
    monkeypatch.setattr("biosegment.training.child.fit.Pace", pace)


class Rates:
    """Stands where the curves go; keeps the learning rate of each step."""

    def __init__(self):
        self.rates = {}

    def scalars(self, step, values):
        if "learning_rate" in values:
            self.rates[step] = values["learning_rate"] / SETTINGS.learning_rate

    def restart(self, step):
        pass

    def flush(self, step):
        pass

    def image(self, *_):
        pass


def test_a_run_that_is_bounded_ends_when_its_time_is_over():
    log, rates = Log(), Rates()
    outcome = fit(network(), sampler(), BOUNDED, log.hooks(log=rates))
    assert outcome.steps == 10
    assert outcome.ending == {"out_of_time": 1.0}
    # It has gone through the rates of a whole run.
    assert rates.rates[10] < 0.1
    assert max(rates.rates.values()) > 3 * rates.rates[10]


def test_a_run_whose_steps_fit_takes_them_all():
    outcome = fit(network(), sampler(), replace(BOUNDED, steps=6), Log().hooks())
    assert (outcome.steps, outcome.ending) == (6, {})


def test_a_run_without_a_bound_is_what_it_was_before_there_were_bounds():
    rates = Rates()
    outcome = fit(network(), sampler(), SETTINGS, Log().hooks(log=rates))
    assert outcome.steps == SETTINGS.steps
    # Told after a step is the rate of the next one.
    expected = {n: schedule(n, steps=SETTINGS.steps) for n in range(1, SETTINGS.steps + 1)}
    assert rates.rates == pytest.approx(expected)


def test_what_an_attempt_has_spent_is_spent_for_the_next_one():
    cut = Log(cancel_at=6)
    with pytest.raises(JobCancelledError):
        fit(network(), sampler(), BOUNDED, cut.hooks())
    assert checkpoint_step(cut.checkpoints[-1]) == 6
    again = Log()
    outcome = fit(network(), sampler(), BOUNDED, again.hooks(), checkpoint=cut.checkpoints[-1])
    assert again.steps == [7, 8, 9, 10]
    assert outcome.ending == {"out_of_time": 1.0}


def test_a_worker_that_is_lost_has_kept_what_was_spent(monkeypatch):
    # Steps so slow that their number alone would store nothing.
    ticks = count(step=70.0)
    monkeypatch.setattr("biosegment.training.child.watch.time.monotonic", lambda: next(ticks))
    log = Log()
    fit(network(), sampler(), replace(BOUNDED, checkpoint_steps=1000), log.hooks())
    assert [checkpoint_step(made) for made in log.checkpoints] == list(range(1, 10))


@pytest.mark.parametrize("settings", [SETTINGS, BOUNDED, replace(BOUNDED, max_seconds=0.0)])
def test_a_run_that_is_asked_to_ends_soon_with_a_rate_that_falls(settings):
    log, rates = Log(), Rates()
    settings = replace(settings, steps=100)
    asked = log.hooks(log=rates, finishing=lambda: log.steps[-1:] >= [4])
    outcome = fit(network(), sampler(), settings, asked)
    assert 5 <= outcome.steps <= 10
    assert outcome.ending == {"finished_early": 1.0}
    assert rates.rates[outcome.steps] < 0.3 * max(rates.rates.values())


def test_a_run_that_is_asked_before_its_first_step_still_makes_something():
    net, before = network(), state(network())
    outcome = fit(net, sampler(), SETTINGS, Log().hooks(finishing=lambda: True))
    assert 1 <= outcome.steps <= 2
    assert any(not torch.equal(before[name], there) for name, there in state(net).items())


def test_what_is_left_is_told_after_a_few_steps():
    told = []
    fit(network(), sampler(), BOUNDED, Log().hooks(paced=lambda *what: told.append(what)))
    # A second a step: ten in all, and seconds as many as steps.
    assert told[0] == (10, 6.0)
    assert told[-1] == (10, 0.0)
    told.clear()
    fit(network(), sampler(), SETTINGS, Log().hooks(paced=lambda *what: told.append(what)))
    assert told[0] == (12, 8.0)


def test_a_bounded_run_is_measured_at_its_end():
    from biosegment.training.child.early_stopping import EarlyStopping
    from biosegment.training.child.settings import HoldOut

    settings = replace(BOUNDED, hold_out=HoldOut(fraction=0.2, every_steps=50, patience=9))
    log = Log()
    stopping = EarlyStopping(samples(2), (0, 1), settings, log.hooks())
    outcome = fit(network(), sampler(), settings, log.hooks(), stopping=stopping)
    assert list(log.ious) == [10]
    assert outcome.held_out["best_step"] == 10


def test_the_rate_of_a_bounded_run_rises_quickly_and_falls_to_the_end():
    assert budgeted(0, 0.0) == pytest.approx(0.02)
    # Few slow steps do not spend the time on warming up, nor many quick ones.
    assert budgeted(3, 0.1) > 0.9
    assert budgeted(60, 0.01) > 0.9
    assert budgeted(5000, 1.0) == pytest.approx(0.01)
    falling = [budgeted(100, along / 20) for along in range(21)]
    assert falling == sorted(falling, reverse=True)
