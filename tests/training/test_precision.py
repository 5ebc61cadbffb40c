from dataclasses import replace

import pytest
import pytorch_lightning as pl
from pytorch_lightning.plugins.precision import MixedPrecision
from torch.utils.data import DataLoader

from biosegment.client.errors import FailedPreconditionError
from biosegment.training.child.fit import fit, prepare
from biosegment.training.child.precision import AUTO, BFLOAT16, FLOAT16, FLOAT32, choose
from tests.training.training_kit import SETTINGS, Log, network, sampler


@pytest.mark.parametrize(
    ("wanted", "capability", "expected"),
    [
        (AUTO, None, FLOAT32),
        (AUTO, (6, 1), FLOAT32),
        (AUTO, (7, 5), FLOAT16),
        (AUTO, (8, 0), BFLOAT16),
        (AUTO, (9, 0), BFLOAT16),
        (FLOAT32, (9, 0), FLOAT32),
        (BFLOAT16, None, BFLOAT16),
        (FLOAT16, (8, 6), FLOAT16),
    ],
)
def test_the_device_decides_what_is_left_open(wanted, capability, expected):
    assert choose(wanted, capability) == expected


def test_float16_needs_a_gpu():
    with pytest.raises(FailedPreconditionError, match="needs a CUDA GPU"):
        choose(FLOAT16, None)


def test_bfloat16_learns_the_same_task():
    full = fit(network(), sampler(), replace(SETTINGS, steps=30), Log().hooks())
    net = network()
    mixed = fit(net, sampler(), replace(SETTINGS, steps=30, precision=BFLOAT16), Log().hooks())
    assert mixed.loss == pytest.approx(full.loss, rel=0.1)
    assert mixed.loss != full.loss
    assert {str(tensor.dtype) for tensor in net.parameters()} == {"torch.float32"}


@pytest.mark.parametrize("parts", [1, 3])
def test_the_scaled_loss_of_float16_goes_with_clipping_and_pieces(parts, tmp_path):
    # On a CPU, with the scaler that Lightning takes on a GPU.
    module, batch = prepare(network(), sampler(), SETTINGS)
    module.parts = parts
    trainer = pl.Trainer(
        accelerator="cpu",
        plugins=[MixedPrecision("16-mixed", "cpu")],
        max_steps=25,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, DataLoader([batch(n) for n in range(40)], batch_size=None))
    assert module.recent_loss < 0.8 * module.first_loss
