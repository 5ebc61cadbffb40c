"""What a run finds before it trains is found once per job."""

from types import SimpleNamespace

import pytest

from biosegment.client.errors import NotFoundError
from biosegment.runtime import objects
from biosegment.training.child import run
from biosegment.training.child.task import Task
from biosegment.v1 import jobs_pb2
from tests.training.training_kit import network, samples


@pytest.fixture
def task(monkeypatch):
    """A task whose objects lie in memory."""
    store = {}

    def read(_stubs, name):
        if name not in store:
            raise NotFoundError(name)
        return store[name]

    monkeypatch.setattr(objects, "read", read)
    monkeypatch.setattr(objects, "write", lambda _stubs, name, data: store.update({name: data}))
    context = SimpleNamespace(report=lambda _: None, check=lambda: None)
    return Task(context, None, jobs_pb2.TrainSpec(), "projects/p/jobs/j", None)


def settings():
    made = jobs_pb2.TrainingSettings(
        steps=20,
        batch_size=2,
        learning_rate=1e-3,
        seed=7,
        checkpoint_steps=5,
        dice_weight=0.5,
        find_learning_rate=True,
        find_batch_size=True,
    )
    made.patch.z, made.patch.y, made.patch.x = 1, 32, 32
    return made


def test_what_was_found_serves_later_attempts(task, monkeypatch):
    start = SimpleNamespace(module=network())
    first, later = settings(), settings()
    found = run._found(task, start, samples(2), first, parts=1)
    assert found == {
        "found_learning_rate": first.learning_rate,
        "found_batch_size": float(first.batch_size),
    }
    assert first.batch_size >= 2
    # As used: the same settings train again without looking for anything.
    assert (first.find_learning_rate, first.find_batch_size) == (False, False)
    monkeypatch.setattr(run.finders, "find", None)
    assert run._found(task, start, samples(2), later, parts=1) == found
    assert later == first


def test_nothing_is_looked_for_unasked(task, monkeypatch):
    monkeypatch.setattr(run.finders, "find", None)
    plain = jobs_pb2.TrainingSettings(learning_rate=1e-3)
    assert run._found(task, None, [], plain, parts=1) == {}
    assert plain.learning_rate == 1e-3
