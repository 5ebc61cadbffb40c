import pytest

from biosegment.client.errors import InvalidArgumentError
from biosegment.nets import catalog
from biosegment.training import plan
from biosegment.training.child.task import settings_of
from biosegment.v1 import jobs_pb2, types_pb2

ARCHITECTURE = catalog.find("unet2d-quarter")
PARAMETERS = ARCHITECTURE.defaults


def filled(*, fresh=True, **values):
    asked = jobs_pb2.TrainingSettings(**values)
    return plan.settings(asked, ARCHITECTURE, PARAMETERS, fresh=fresh, seed=5)


def test_defaults():
    made = settings_of(filled())
    assert (made.steps, made.batch_size, made.patch) == (500, 8, (1, 128, 128))
    assert (made.learning_rate, made.seed, made.dice_weight) == (1e-3, 5, 0.5)
    assert filled(fresh=False).learning_rate == 5e-4
    assert filled(dice_weight=0.0).dice_weight == 0.0


def test_patches_of_networks_of_volumes_reach_along_z():
    volumes = catalog.find("unet3d-quarter")

    def asked(**patch):
        given = jobs_pb2.TrainingSettings()
        if patch:
            given.patch.CopyFrom(types_pb2.Shape(**patch))
        made = plan.settings(given, volumes, volumes.defaults, fresh=True, seed=5)
        return settings_of(made).patch

    assert asked() == (16, 64, 64)
    assert asked(z=8, y=32, x=40) == (8, 32, 40)
    with pytest.raises(InvalidArgumentError, match=r"patch\.z must be a multiple of 4"):
        asked(z=6, y=32, x=32)
    with pytest.raises(InvalidArgumentError, match=r"patch\.z must lie between 4"):
        asked(z=1, y=32, x=32)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"steps": -1}, "steps"),
        ({"batch_size": 5000}, "batch_size"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": 2.0}, "learning_rate"),
        ({"dice_weight": 1.5}, "dice_weight"),
        ({"seed": 1 << 40}, "seed"),
        ({"checkpoint_steps": -3}, "checkpoint_steps"),
        ({"precision": 77}, "precision"),
        ({"hold_out": jobs_pb2.HoldOut(fraction=0.6)}, "hold_out.fraction"),
        ({"hold_out": jobs_pb2.HoldOut(fraction=float("nan"))}, "hold_out.fraction"),
        ({"hold_out": jobs_pb2.HoldOut(every_steps=-1)}, "hold_out.every_steps"),
        ({"hold_out": jobs_pb2.HoldOut(patience=-1)}, "hold_out.patience"),
        ({"patch": types_pb2.Shape(z=0, y=64, x=64)}, "patch.z"),
        ({"patch": types_pb2.Shape(z=1, y=65, x=64)}, "patch.y"),
        ({"patch": types_pb2.Shape(z=1, y=64, x=1 << 20)}, "patch.x"),
    ],
)
def test_what_is_out_of_range_is_named(values, field):
    with pytest.raises(InvalidArgumentError, match=field) as caught:
        filled(**values)
    assert caught.value.metadata["field"] == f"spec.settings.{field}"


def test_holding_out_is_off_unless_asked_for():
    assert settings_of(filled()).hold_out is None
    made = settings_of(filled(steps=200, hold_out=jobs_pb2.HoldOut())).hold_out
    assert (made.fraction, made.every_steps, made.patience) == (0.2, 10, 6)
    given = settings_of(filled(hold_out=jobs_pb2.HoldOut(fraction=0.1, every_steps=7, patience=2)))
    assert (given.hold_out.fraction, given.hold_out.every_steps) == (0.1, 7)


def test_what_is_to_be_found_and_the_precision_are_passed_on():
    made = filled(find_batch_size=True, precision=jobs_pb2.TRAINING_PRECISION_BFLOAT16)
    assert (made.find_batch_size, made.find_learning_rate) == (True, False)
    assert settings_of(made).precision == jobs_pb2.TRAINING_PRECISION_BFLOAT16


def test_pieces_are_never_more_than_crops():
    assert settings_of(filled(batch_size=4), parts=8).parts == 4


def test_a_repeat_of_a_request_has_the_same_seed():
    assert plan._seed_of("a") == plan._seed_of("a") != plan._seed_of("b")
    assert all(1 <= plan._seed_of(text) < 2**31 for text in ("", "a", "b" * 36))
