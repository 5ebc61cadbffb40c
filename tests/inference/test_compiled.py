"""The network as OpenVINO runs it; that blocks are seamless is in test_tiles_seamless."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from biosegment.client.geometry import Box
from biosegment.inference import forwards as forwards_module
from biosegment.inference import settings as settings_module
from biosegment.inference.child.compiled import CompiledNetwork
from biosegment.inference.child.predict import PROBABILITIES, Predictor, predict
from biosegment.inference.child.score import Comparison, score
from biosegment.inference.forwards import CpuEngine, Forwards, Precision, openvino_is_installed
from biosegment.inference.settings import InferenceSettings
from biosegment.nets import catalog
from biosegment.nets.architectures import build

needs_openvino = pytest.mark.skipif(not openvino_is_installed(), reason="OpenVINO is not installed")


def predictors(name="unet2d", parameters=None, seed=0):
    """The same network, run by torch and by OpenVINO."""
    parameters = {"feature_maps": 4, "levels": 2, **(parameters or {})}
    made = []
    for by_openvino in (False, True):
        torch.manual_seed(seed)
        module = build(name, parameters, 3)
        made.append(Predictor(module, (0, 2, 7), 1 << 20, by_openvino=by_openvino))
    return made


@needs_openvino
@pytest.mark.parametrize("name", ["unet2d", "unet2d-group", "unet3d"])
def test_logits_are_those_of_torch_for_any_number_and_extent(name):
    plain, compiled = predictors(name)
    for shape in ((1, 4, 32, 48), (3, 8, 16, 20), (2, 4, 64, 4)):
        x = torch.rand(shape)
        with torch.inference_mode():
            expected, found = plain.logits(x), compiled.logits(x)
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, atol=5e-5, rtol=1e-5)


@needs_openvino
def test_logits_are_the_callers_to_keep():
    _, compiled = predictors()
    with torch.inference_mode():
        first = compiled.logits(torch.zeros(1, 1, 16, 16))
        kept = first.clone()
        compiled.logits(torch.ones(1, 1, 16, 16))
    assert torch.equal(first, kept)


@needs_openvino
def test_it_computes_on_after_it_gave_its_memory_back():
    _, compiled = predictors()
    x = torch.rand(1, 2, 32, 32)
    with torch.inference_mode():
        before = compiled.logits(x)
        compiled.give_back()
        assert torch.equal(compiled.logits(x), before)


@needs_openvino
def test_scores_are_those_of_torch_and_passes_with_dropout_are_not_compiled_away():
    patches = np.random.default_rng(1).integers(0, 255, (5, 1, 16, 24)).astype(np.uint8)
    plain, compiled = predictors(parameters={"dropout": 0.5})
    others = [
        predictors(parameters={"dropout": 0.5}, seed=1)[by_openvino] for by_openvino in (0, 1)
    ]
    for comparison in ((Comparison(passes=4, seed=7),) * 2, [Comparison((o,)) for o in others]):
        found, expected = (
            score(network, patches, comparison=how).statistics
            for network, how in zip((compiled, plain), comparison[::-1], strict=True)
        )
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert (found[:, -1] > 1e-4).all()


@needs_openvino
@pytest.mark.parametrize("words", ["Failed to allocate 134217728 bytes of memory", "can't alloc"])
def test_torch_goes_on_with_smaller_tiles_when_memory_runs_out(monkeypatch, words):
    def starved(self, x):
        # As it says it, after a page of where; a limit on the address space makes it say so.
        raise RuntimeError(f"Exception from src/plugins/intel_cpu/src/node.cpp:823:\n{words}\n")

    plain, compiled = predictors()
    raw = np.random.default_rng(0).integers(0, 255, (2, 64, 64)).astype(np.uint8)
    box = Box.of_shape(raw.shape)
    around = {"origin": (0, 0, 0), "shape": raw.shape, "box": box, "output": PROBABILITIES}
    monkeypatch.setattr(CompiledNetwork, "__call__", starved)
    np.testing.assert_array_equal(predict(compiled, raw, **around), predict(plain, raw, **around))
    assert (compiled.forward_pixels, compiled.by_openvino) == (1 << 19, False)


_REPORT = """
import sys

import torch

from tests.inference.test_compiled import predictors

with torch.inference_mode():
    predictors()[1].logits(torch.zeros(1, 1, 16, 16))
told = [name for name, module in sys.modules.items() if "openvino_telemetry" in name and module]
assert not told, told
"""


@needs_openvino
def test_nothing_is_reported_to_its_makers(tmp_path):
    environment = {**os.environ, "HOME": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", _REPORT],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )
    assert ended.returncode == 0, ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_faster_one_runs_a_network_where_nothing_is_said(monkeypatch):
    local, whole = (
        catalog.find(name).footprint(catalog.find(name).defaults)
        for name in ("unet2d", "unet2d-group")
    )
    for installed in (True, False):
        monkeypatch.setattr(forwards_module, "openvino_is_installed", lambda here=installed: here)
        automatic = Forwards(engine=CpuEngine.AUTO)
        assert automatic.by_openvino(local) == installed
        assert not automatic.by_openvino(whole)
        assert not Forwards(engine=CpuEngine.TORCH).by_openvino(local)
        assert Forwards(engine=CpuEngine.OPENVINO).by_openvino(whole)


def test_what_is_not_installed_cannot_be_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(settings_module, "openvino_is_installed", lambda: False)
    with pytest.raises(ValidationError, match=r"pip install 'biosegment\[openvino\]'"):
        InferenceSettings(connection=tmp_path / "c.json", cpu_engine="openvino")
    with pytest.raises(ValidationError, match="'auto', 'torch' or 'openvino'"):
        InferenceSettings(connection=tmp_path / "c.json", cpu_engine="onnx")


@pytest.mark.parametrize(
    "by_openvino", [False, pytest.param(True, marks=needs_openvino)], ids=["torch", "openvino"]
)
def test_bfloat16_is_close_to_float32(by_openvino):
    exact = predictors()[by_openvino]
    halved = replace(exact, precision=Precision.BFLOAT16)
    raw = np.random.default_rng(0).integers(0, 255, (2, 150, 90)).astype(np.uint8)
    box = Box.of_shape(raw.shape)
    around = {"origin": (0, 0, 0), "shape": raw.shape, "box": box, "output": PROBABILITIES}
    expected, found = (predict(predictor, raw, **around) for predictor in (exact, halved))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=0.05)
    if not by_openvino:
        # OpenVINO computes in float32 where the processor has nothing else.
        assert not np.array_equal(found, expected)


def test_a_precision_that_there_is_not_is_refused(tmp_path):
    assert InferenceSettings(connection=tmp_path / "c.json").forwards.precision == "float32"
    with pytest.raises(ValidationError, match="'float32' or 'bfloat16'"):
        InferenceSettings(connection=tmp_path / "c.json", precision="float16")
