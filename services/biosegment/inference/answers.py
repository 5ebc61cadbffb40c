"""Answers that a person waits for: a predicted region, the scores of patches."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from numpy.typing import NDArray

from biosegment.client import names
from biosegment.client.errors import InvalidArgumentError, ResourceExhaustedError
from biosegment.client.geometry import ZYX, Box, shape_of
from biosegment.client.stubs import AsyncStubs
from biosegment.inference.calls import Calls
from biosegment.inference.settings import InferenceSettings
from biosegment.inference.subjects import Subject, look_up
from biosegment.v1 import inference_pb2 as pb
from biosegment.v1 import registry_pb2

# Names of biosegment.inference.child.predict, with bytes per voxel and class of what is sent.
_OUTPUTS = {
    pb.PREDICTION_OUTPUT_UNSPECIFIED: "labels",
    pb.PREDICTION_OUTPUT_LABELS: "labels",
    pb.PREDICTION_OUTPUT_PROBABILITIES: "probabilities",
    pb.PREDICTION_OUTPUT_ENTROPY: "entropy",
}
_MAX_PATCHES = 100_000
_MAX_PATCH_VOXELS = 1 << 24
_MAX_PASSES = 64
_MAX_OTHERS = 3
# A call is short, so that other people's calls come in between.
_CALL_PATCHES = 256
_CALL_VOXELS = 1 << 24


async def predict(
    stubs: AsyncStubs, calls: Calls, request: pb.PredictRegionRequest, settings: InferenceSettings
) -> tuple[Box, NDArray[Any], Sequence[str]]:
    """Predicts a box; beside it stand sentences for whoever uses the prediction.

    Raises:
        InvalidArgumentError: The request is wrong.
        OutsideVolumeError: The box leaves the data set.
        FailedPreconditionError: The network has to see whole sections, and they are too large.
        ResourceExhaustedError: The answer would be larger than the settings allow.
    """
    output = _OUTPUTS.get(request.output)
    if output is None:
        raise InvalidArgumentError(
            f"{request.output} is no output of a prediction; ask for LABELS, PROBABILITIES or "
            "ENTROPY.",
            field="output",
        )
    subject = await look_up(stubs, request.version, request.dataset)
    subject.check_sections(settings.section_mebibytes << 20)
    box = subject.box(request.box)
    _check_size(subject, box, output, settings.answer_mebibytes << 20)
    array = await calls.now(
        "region:predict_region",
        dataset=request.dataset,
        version=subject.version,
        box=box,
        output=output,
    )
    return box, array, subject.warnings


def _check_size(subject: Subject, box: Box, output: str, most_bytes: int) -> None:
    per_voxel = {"labels": 1, "entropy": 4, "probabilities": 4 * len(subject.model.classes)}[output]
    if box.voxels * per_voxel > most_bytes:
        raise ResourceExhaustedError(
            f"The {output} of {box} take {box.voxels * per_voxel} bytes, more than the "
            f"{most_bytes} of a direct answer. Ask for a smaller box, or start a segmentation.",
            box=box,
        )


async def score(
    stubs: AsyncStubs, calls: Calls, request: pb.ScorePatchesRequest
) -> AsyncIterator[pb.ScorePatchesResponse]:
    """Yields the scores of patches some hundred at a time, those of one chunk one after the other.

    Raises:
        InvalidArgumentError: There are none or too many, their extents differ, or the versions to
            compare are not of the same model.
        FailedPreconditionError: Passes with dropout are asked of a network without.
        OutsideVolumeError: One leaves the data set.
        ResourceExhaustedError: They are too large.
    """
    if not 0 < len(request.boxes) <= _MAX_PATCHES:
        raise InvalidArgumentError(
            f"Ask for 1 to {_MAX_PATCHES} patches; {len(request.boxes)} were given.", field="boxes"
        )
    subject = await look_up(stubs, request.version, request.dataset)
    boxes = [subject.box(box) for box in request.boxes]
    different = next((box for box in boxes if box.shape != boxes[0].shape), None)
    if different is not None:
        raise InvalidArgumentError(
            f"Patches must have one extent; {boxes[0]} and {different} differ.", field="boxes"
        )
    if boxes[0].voxels > _MAX_PATCH_VOXELS:
        raise ResourceExhaustedError(
            f"A patch of {boxes[0].voxels} voxels is more than the {_MAX_PATCH_VOXELS} that can be "
            "scored at a time; ask for smaller ones."
        )
    others = await _others(stubs, subject, request)
    at_once = max(1, min(_CALL_PATCHES, _CALL_VOXELS // boxes[0].voxels))
    chunk = shape_of(subject.raw.levels[0].chunk)

    def place(index: int) -> ZYX:
        z, y, x = (start // size for start, size in zip(boxes[index].start, chunk, strict=True))
        return z, y, x

    order = sorted(range(len(boxes)), key=place)
    for start in range(0, len(boxes), at_once):
        part = order[start : start + at_once]
        scores = await calls.now(
            "region:score_patches",
            dataset=request.dataset,
            version=subject.version,
            boxes=[boxes[index] for index in part],
            with_embeddings=request.with_embeddings,
            passes=request.dropout_passes,
            seed=request.seed,
            others=others,
        )
        answer = pb.ScorePatchesResponse(warnings=() if start else subject.warnings)
        for n, (index, values) in enumerate(zip(part, scores.statistics, strict=True)):
            answer.scores.add(
                index=index,
                statistics=dict(zip(scores.names, values.tolist(), strict=True)),
                embedding=scores.embeddings[n] if scores.embeddings is not None else (),
            )
        yield answer


async def _others(
    stubs: AsyncStubs, subject: Subject, request: pb.ScorePatchesRequest
) -> list[str]:
    """The versions to compare with, checked."""
    if not 0 <= request.dropout_passes <= _MAX_PASSES:
        raise InvalidArgumentError(
            f"dropout_passes is {request.dropout_passes}; it must be 0 to {_MAX_PASSES}.",
            field="dropout_passes",
        )
    others = request.ensemble_versions
    if len(others) > _MAX_OTHERS:
        raise InvalidArgumentError(
            f"{len(others)} versions to compare with are too many; give at most {_MAX_OTHERS}.",
            field="ensemble_versions",
        )
    for name in others:
        names.parse(names.VERSION, name)
        if name.rpartition("/versions/")[0] != subject.model.name:
            raise InvalidArgumentError(
                f"{name} is not a version of {subject.model.name}.", field="ensemble_versions"
            )
        await stubs.registry.GetModelVersion(registry_pb2.GetModelVersionRequest(name=name))
    return list(others)
