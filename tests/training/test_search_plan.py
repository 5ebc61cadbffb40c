import pytest

from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError
from biosegment.training import search_plan
from biosegment.training.plan import TrainPlan
from biosegment.training.search_plan import plan_search
from biosegment.v1 import jobs_pb2

RATES = jobs_pb2.SearchParameter(name="learning_rate", low=1e-4, high=1e-2, logarithmic=True)


async def planned(*parameters, trials=0, **training):
    """The plan of a search, where a training is taken as it comes."""
    spec = jobs_pb2.SearchSpec(
        training=jobs_pb2.TrainSpec(**training), parameters=parameters, trials=trials
    )
    made, warnings = await plan_search(None, "projects/p", "r", spec)
    assert warnings == ["told"]
    return made


@pytest.fixture(autouse=True)
def plan_of_training(monkeypatch):
    async def plan(_stubs, _parent, _request_id, spec):
        return TrainPlan(spec, ["told"])

    monkeypatch.setattr(search_plan, "plan", plan)


async def test_defaults():
    made = await planned(RATES)
    assert made.trials == 20
    assert made.training.settings.HasField("hold_out")
    kept = jobs_pb2.TrainingSettings(hold_out=jobs_pb2.HoldOut(fraction=0.4))
    assert (await planned(RATES, settings=kept)).training.settings.hold_out.fraction == 0.4


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ([], "nothing to vary"),
        ([jobs_pb2.SearchParameter(name="steps", low=1, high=2)], "cannot be varied"),
        ([RATES, RATES], "at most once"),
        ([jobs_pb2.SearchParameter(name="learning_rate", low=1e-2, high=1e-4)], "must rise"),
        ([jobs_pb2.SearchParameter(name="batch_size", low=1.5, high=8)], "whole patches"),
        ([jobs_pb2.SearchParameter(name="dice_weight", low=0.5, high=1.5)], "between 0 and 1"),
        ([jobs_pb2.SearchParameter(name="dice_weight", low=0, high=float("nan"))], "must rise"),
        (
            [jobs_pb2.SearchParameter(name="dice_weight", low=0, high=1, logarithmic=True)],
            "cannot begin at 0",
        ),
    ],
)
async def test_what_cannot_be_varied_is_named(parameters, words):
    with pytest.raises(InvalidArgumentError, match=words):
        await planned(*parameters)


async def test_what_makes_no_sense_in_a_search_is_refused():
    with pytest.raises(InvalidArgumentError, match="restoration"):
        await planned(RATES, objective=jobs_pb2.TRAINING_OBJECTIVE_RESTORATION)
    with pytest.raises(InvalidArgumentError, match="find_learning_rate"):
        await planned(RATES, settings=jobs_pb2.TrainingSettings(find_learning_rate=True))
    with pytest.raises(InvalidArgumentError, match="trials must lie between"):
        await planned(RATES, trials=1001)


async def test_without_optuna_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(FailedPreconditionError, match=r"biosegment\[search\]"):
        await planned(RATES)
