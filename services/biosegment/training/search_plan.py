"""From a SearchSpec as asked to one that says everything, or a sentence that says what is wrong."""

import importlib.util
import math

from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError
from biosegment.client.stubs import AsyncStubs
from biosegment.training.plan import plan
from biosegment.v1 import jobs_pb2

_TRIALS, _MOST_TRIALS = 20, 1000
_LIMITS = {"learning_rate": (1e-9, 1.0), "batch_size": (1.0, 1024.0), "dice_weight": (0.0, 1.0)}


async def plan_search(
    stubs: AsyncStubs, parent: str, request_id: str, spec: jobs_pb2.SearchSpec
) -> tuple[jobs_pb2.SearchSpec, list[str]]:
    """The spec with its revision pinned and every default filled in, and what is to be said.

    Args:
        stubs: To reach registry and storage.
        parent: projects/p
        request_id: Of the request; the default seed comes from it.
        spec: As asked.

    Raises:
        InvalidArgumentError: There is nothing to vary, a range is empty or out of bounds, or the
            training is one that cannot be searched.
        FailedPreconditionError: Optuna is not installed, or there are no labels.
        NotFoundError: Model, version or data set do not exist.
    """
    if importlib.util.find_spec("optuna") is None:
        raise FailedPreconditionError(
            "A search needs Optuna, which is not installed where training runs. Install it with: "
            "pip install 'biosegment[search]'"
        )
    made = jobs_pb2.SearchSpec()
    made.CopyFrom(spec)
    settings = made.training.settings
    if made.training.objective == jobs_pb2.TRAINING_OBJECTIVE_RESTORATION:
        raise InvalidArgumentError(
            "A search compares how well labels are learnt; restoration learns none.",
            field="spec.training.objective",
        )
    if settings.find_learning_rate or settings.find_batch_size:
        raise InvalidArgumentError(
            "A search varies learning_rate and batch_size itself: leave find_learning_rate and "
            "find_batch_size out, and name them among the parameters.",
            field="spec.training.settings",
        )
    _check_parameters(made)
    made.trials = made.trials or _TRIALS
    if not 1 <= made.trials <= _MOST_TRIALS:
        raise InvalidArgumentError(
            f"trials must lie between 1 and {_MOST_TRIALS}; it is {made.trials}.",
            field="spec.trials",
        )
    # What trials are compared by.
    settings.hold_out.SetInParent()
    planned = await plan(stubs, parent, request_id, made.training)
    made.training.CopyFrom(planned.spec)
    return made, planned.warnings


def _check_parameters(spec: jobs_pb2.SearchSpec) -> None:
    names = [parameter.name for parameter in spec.parameters]
    if not names:
        raise InvalidArgumentError(
            f"There is nothing to vary: give a range for one or more of {', '.join(_LIMITS)}.",
            field="spec.parameters",
        )
    for number, parameter in enumerate(spec.parameters):
        field = f"spec.parameters[{number}]"
        limits = _LIMITS.get(parameter.name)
        if limits is None or names.count(parameter.name) > 1:
            raise InvalidArgumentError(
                f'"{parameter.name[:80]}" cannot be varied here: name each of '
                f"{', '.join(_LIMITS)} at most once.",
                field=field,
            )
        low, high = parameter.low, parameter.high
        # Written so that NaN fails.
        if not limits[0] <= low < high <= limits[1] or not math.isfinite(high):
            raise InvalidArgumentError(
                f"The range of {parameter.name} must rise and lie between {limits[0]:g} and "
                f"{limits[1]:g}; it is {low:g} to {high:g}.",
                field=field,
            )
        if parameter.name == "batch_size" and not (low.is_integer() and high.is_integer()):
            raise InvalidArgumentError(
                f"batch_size is counted in whole patches; its range is {low:g} to {high:g}.",
                field=field,
            )
        if parameter.logarithmic and low <= 0:
            raise InvalidArgumentError(
                f"A logarithmic range cannot begin at {low:g}; give {parameter.name} a lowest "
                "value above 0.",
                field=field,
            )
