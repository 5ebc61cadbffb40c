"""What device training has, and what follows from it."""

import asyncio

import pytest
import torch
from google.protobuf.struct_pb2 import Struct

from biosegment.client.errors import InvalidArgumentError, UnavailableError
from biosegment.runtime.child import Child
from biosegment.training.device import DeviceOfChild, recommended
from biosegment.training.servicer import TrainingServicer
from biosegment.v1 import training_pb2 as pb

LAPTOP = pb.Device(type="cpu", display_name="2 processor cores", cores=2)
CLUSTER = pb.Device(type="cuda", display_name="NVIDIA H200", cores=16)


def servicer(device):
    return TrainingServicer(None, DeviceOfChild(device))


async def resolved(device, name="", **parameters):
    given = Struct()
    given.update(parameters)
    request = pb.ResolveArchitectureRequest(name=name, parameters=given)
    return (await servicer(device).ResolveArchitecture(request, None)).architecture


async def test_the_child_says_what_it_has(monkeypatch):
    # Other tests may load torch at the same time.
    monkeypatch.setattr("biosegment.training.device._PATIENCE_SECONDS", 150.0)
    child, device = Child("training"), DeviceOfChild()
    stopping = asyncio.Event()
    watching = asyncio.create_task(device.watch(child, stopping))
    try:
        found = await device.get()
    finally:
        stopping.set()
        await watching
        await child.close()
    assert (found.type == "cuda") == torch.cuda.is_available()
    assert found.cores >= 1
    assert found.display_name


async def test_a_child_that_dies_is_asked_again(monkeypatch):
    monkeypatch.setattr("biosegment.training.device._AGAIN_SECONDS", 0.01)
    answers = [RuntimeError("killed"), {"type": "cpu", "display_name": "a core", "cores": 1}]

    class Dying:
        async def run(self, target, *, urgent):
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    device, stopping = DeviceOfChild(), asyncio.Event()
    watching = asyncio.create_task(device.watch(Dying(), stopping))
    assert (await device.get()).type == "cpu"
    stopping.set()
    await watching


async def test_before_it_is_known_the_service_is_not_available_yet(monkeypatch):
    monkeypatch.setattr("biosegment.training.device._PATIENCE_SECONDS", 0.01)
    with pytest.raises(UnavailableError, match="finding out what device"):
        await servicer(None).DescribeDevice(pb.DescribeDeviceRequest(), None)
    # What does not depend on it is answered.
    assert (await resolved(None, "unet3d")).name == "unet3d"
    answer = await servicer(None).ListArchitectures(pb.ListArchitecturesRequest(), None)
    assert not any(found.recommended for found in answer.architectures)


async def test_a_laptop_gets_the_small_network_and_is_told_of_the_large_one():
    found = await resolved(LAPTOP)
    assert (found.name, found.recommended) == ("unet2d-quarter", True)
    assert "no GPU but 2 processor cores" in found.reason
    assert found.reason.endswith("--architecture unet2d")


async def test_a_gpu_gets_the_large_one():
    found = await resolved(CLUSTER)
    assert found.name == "unet2d"
    assert "NVIDIA H200" in found.reason
    assert recommended(pb.Device(type="mps", display_name="Apple GPU"))[0] == "unet2d"


async def test_a_network_that_is_named_is_taken():
    found = await resolved(LAPTOP, "unet2d")
    assert (found.name, found.recommended, found.reason) == ("unet2d", False, "")


async def test_parameters_count_for_the_network_that_is_taken():
    assert (await resolved(LAPTOP, feature_maps=8)).parameters["feature_maps"] == 8
    with pytest.raises(InvalidArgumentError, match="unet2d-quarter has no parameter"):
        await resolved(LAPTOP, planar_levels=1)


async def test_one_of_the_list_is_the_usual_one():
    answer = await servicer(LAPTOP).ListArchitectures(pb.ListArchitecturesRequest(), None)
    assert [f.name for f in answer.architectures if f.recommended] == ["unet2d-quarter"]
