import pytest

from biosegment.training.child.trials import hopeless, suggest
from biosegment.v1 import jobs_pb2

pytest.importorskip("optuna")
PARAMETERS = [
    jobs_pb2.SearchParameter(name="learning_rate", low=1e-5, high=1e-1, logarithmic=True),
    jobs_pb2.SearchParameter(name="batch_size", low=2, high=16),
    jobs_pb2.SearchParameter(name="dice_weight", low=0.0, high=1.0),
]
SETTINGS = jobs_pb2.TrainingSettings(learning_rate=1e-3, batch_size=32, dice_weight=0.5, seed=9)
DONE, PRUNED, FAILED, RUNNING = (
    jobs_pb2.TRIAL_STATE_DONE,
    jobs_pb2.TRIAL_STATE_PRUNED,
    jobs_pb2.TRIAL_STATE_FAILED,
    jobs_pb2.TRIAL_STATE_RUNNING,
)


def trial(number, values, iou, state=DONE):
    ended = iou if state == DONE else None
    measurements = {10: iou / 2, 20: iou} if iou is not None else {}
    return jobs_pb2.Trial(
        number=number, state=state, values=values, iou=ended, measurements=measurements
    )


def history(count):
    """Trials whose IoU is best at a learning rate of 1e-2."""
    from math import log10

    trials = []
    for number in range(count):
        values = suggest(PARAMETERS, trials, SETTINGS)
        iou = 1.0 - abs(log10(values["learning_rate"]) + 2) / 4
        trials.append(trial(number, values, iou))
    return trials


def test_the_first_trial_takes_the_settings_as_far_as_the_ranges_allow():
    assert suggest(PARAMETERS, [], SETTINGS) == {
        "learning_rate": 1e-3,
        "batch_size": 16.0,
        "dice_weight": 0.5,
    }


def test_the_next_values_depend_on_the_trials_alone():
    trials = history(12)
    again = [jobs_pb2.Trial.FromString(each.SerializeToString()) for each in trials]
    assert suggest(PARAMETERS, trials, SETTINGS) == suggest(PARAMETERS, again, SETTINGS)
    assert len({each.values["learning_rate"] for each in trials}) == 12
    for each in trials:
        assert 1e-5 <= each.values["learning_rate"] <= 1e-1
        assert each.values["batch_size"] in range(2, 17)
        assert 0.0 <= each.values["dice_weight"] <= 1.0


def test_it_learns_from_what_was_tried():
    trials = history(40)
    best = max(each.iou for each in trials)
    assert best > 0.97
    early = sum(each.iou for each in trials[1:11]) / 10
    assert sum(each.iou for each in trials[-10:]) / 10 > early + 0.1


def test_trials_that_failed_or_were_cut_short_do_no_harm():
    trials = history(6)
    trials.append(trial(6, dict(trials[1].values), 0.1, PRUNED))
    trials.append(trial(7, dict(trials[2].values), None, FAILED))
    assert set(suggest(PARAMETERS, trials, SETTINGS)) == {each.name for each in PARAMETERS}


@pytest.mark.parametrize(("iou", "expected"), [(0.1, True), (0.9, False)])
def test_a_trial_below_the_median_is_hopeless(iou, expected):
    values = {"learning_rate": 1e-3, "batch_size": 4, "dice_weight": 0.5}
    trials = [trial(n, values, 0.4 + n / 50) for n in range(6)]
    running = jobs_pb2.Trial(
        number=6, state=RUNNING, values=values, measurements={10: iou / 2, 20: iou}
    )
    assert hopeless(PARAMETERS, trials, running, steps=40) is expected
    # Not while fewer than five have ended, nor in the first quarter of the steps.
    assert not hopeless(PARAMETERS, trials[:4], running, steps=40)
    assert not hopeless(PARAMETERS, trials, running, steps=400)
