"""What to try next and what is not worth going on with, by Optuna, from the trials so far.

Both are functions of the trials alone. No study is kept anywhere: a search that goes on after a
crash, on another machine, or with another release of Optuna reads its trials and asks again.
"""

from collections.abc import Sequence
from typing import Any

from biosegment.v1 import jobs_pb2

_COMPARED = 5
"""Trials that must have ended before one is cut short."""


def _distribution(parameter: jobs_pb2.SearchParameter) -> Any:
    from optuna.distributions import FloatDistribution, IntDistribution

    if parameter.name == "batch_size":
        low, high = round(parameter.low), round(parameter.high)
        return IntDistribution(low, high, log=parameter.logarithmic)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.logarithmic)


def _study(
    parameters: Sequence[jobs_pb2.SearchParameter], trials: Sequence[jobs_pb2.Trial], seed: int
) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Another seed for every trial, or what is asked first would always be the same.
    sampler = optuna.samplers.TPESampler(seed=(seed + len(trials)) % 2**32)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials([_frozen(parameters, trial) for trial in trials])
    return study


def _frozen(parameters: Sequence[jobs_pb2.SearchParameter], trial: jobs_pb2.Trial) -> Any:
    from optuna.trial import TrialState, create_trial

    states = {
        jobs_pb2.TRIAL_STATE_RUNNING: TrialState.RUNNING,
        jobs_pb2.TRIAL_STATE_DONE: TrialState.COMPLETE,
        jobs_pb2.TRIAL_STATE_PRUNED: TrialState.PRUNED,
        jobs_pb2.TRIAL_STATE_FAILED: TrialState.FAIL,
    }
    distributions = {each.name: _distribution(each) for each in parameters}
    return create_trial(
        state=states[trial.state],
        value=trial.iou if trial.state == jobs_pb2.TRIAL_STATE_DONE else None,
        params={name: value_of(name, trial.values[name]) for name in distributions},
        distributions=distributions,
        intermediate_values=dict(trial.measurements),
    )


def value_of(name: str, value: float) -> float | int:
    """A value in the type of its setting."""
    return round(value) if name == "batch_size" else value


def suggest(
    parameters: Sequence[jobs_pb2.SearchParameter],
    trials: Sequence[jobs_pb2.Trial],
    settings: jobs_pb2.TrainingSettings,
) -> dict[str, float]:
    """The values to try next, by the tree-structured Parzen estimator (Bergstra et al., 2011).

    The first trial takes the settings as they are, as far as the ranges allow, so that what is
    found can be compared with them.

    Args:
        parameters: What is varied.
        trials: Those that have ended, in order.
        settings: What is not varied; the seed.
    """
    if not trials:
        return {
            each.name: min(max(float(getattr(settings, each.name)), each.low), each.high)
            for each in parameters
        }
    study = _study(parameters, trials, settings.seed)
    asked = study.ask({each.name: _distribution(each) for each in parameters})
    return {name: float(value) for name, value in asked.params.items()}


def hopeless(
    parameters: Sequence[jobs_pb2.SearchParameter],
    trials: Sequence[jobs_pb2.Trial],
    running: jobs_pb2.Trial,
    steps: int,
) -> bool:
    """Whether a trial has never been as good as half of those before it were by the same step.

    Args:
        parameters: What is varied.
        trials: Those that have ended, in order.
        running: The trial, with what was measured so far.
        steps: Steps of a whole run; none is cut short in the first quarter.
    """
    from optuna.pruners import MedianPruner

    pruner = MedianPruner(n_startup_trials=_COMPARED, n_warmup_steps=steps // 4)
    return bool(pruner.prune(_study(parameters, trials, 0), _frozen(parameters, running)))
