import json

import pytest
import safetensors.torch
import torch

from biosegment.client.errors import FailedPreconditionError
from biosegment.nets import weights
from biosegment.nets.architectures import build
from biosegment.nets.weights import Weights

PARAMETERS = {"feature_maps": 2, "levels": 1, "in_channels": 1, "dropout": 0.0}


def _words(data):
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header["__metadata__"]["biosegment"]


@pytest.fixture
def made():
    torch.manual_seed(0)
    module = build("unet2d", PARAMETERS, 3)
    module.set_input_statistics(0.4, 0.2)
    return Weights(module.eval(), "unet2d", PARAMETERS, (0, 2, 7), {"job": "j"})


def test_round_trip(made):
    data = weights.dump(made)
    back = weights.load(data, expected_sha256=weights.sha256(data))
    assert (back.architecture, back.classes, back.notes) == ("unet2d", (0, 2, 7), {"job": "j"})
    x = torch.rand(1, 1, 8, 8)
    assert torch.equal(made.module(x), back.module(x))
    assert weights.dump(back) == data
    weights.check_fits(back, "unet2d", {**PARAMETERS, "dropout": 0.3}, [0, 2, 7], "It")


def test_channels_last_weights_are_written_alike(made):
    plain = weights.dump(made)
    made.module.to(memory_format=torch.channels_last)
    assert weights.dump(made) == plain


def test_damage_is_named(made):
    data = weights.dump(made)
    other = bytearray(data)
    other[-1] ^= 1
    with pytest.raises(FailedPreconditionError, match="not what was recorded"):
        weights.load(bytes(other), expected_sha256=weights.sha256(data))
    for bad in (b"", b"abc", data[:40], data[:-10], b"\x80\x04" + b"x" * 100, b"\xff" * 64):
        with pytest.raises(FailedPreconditionError, match="no safetensors file"):
            weights.load(bad)


def test_a_pickle_is_not_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "opened"), "w"))

    path = tmp_path / "weights"
    torch.save({"x": Bomb()}, path)
    with pytest.raises(FailedPreconditionError):
        weights.load(path.read_bytes())
    assert not (tmp_path / "opened").exists()


def test_foreign_and_mismatched_files_are_named(made):
    with pytest.raises(FailedPreconditionError, match="not written by this platform"):
        weights.load(safetensors.torch.save({"a": torch.zeros(1)}))
    tensors = {k: v.contiguous() for k, v in made.module.state_dict().items()}
    good = json.loads(_words(weights.dump(made)))

    def written(**changes):
        return safetensors.torch.save(tensors, {"biosegment": json.dumps({**good, **changes})})

    with pytest.raises(FailedPreconditionError, match="does not fill the unet2d"):
        weights.load(written(parameters={**PARAMETERS, "feature_maps": 4}))
    with pytest.raises(FailedPreconditionError, match="no architecture"):
        weights.load(written(architecture="x"))
    for changes in ({"classes": "no"}, {"parameters": 3}, {"classes": None}):
        with pytest.raises(FailedPreconditionError, match="metadata of The weights"):
            weights.load(written(**changes))
    with pytest.raises(FailedPreconditionError, match="belongs to another network"):
        weights.check_fits(made, "unet2d", PARAMETERS, [0, 1, 2], "It")


def test_a_diverged_network_is_not_written(made):
    with torch.no_grad():
        made.module.head.bias[0] = float("nan")
    with pytest.raises(FailedPreconditionError, match="not finite"):
        weights.dump(made)
