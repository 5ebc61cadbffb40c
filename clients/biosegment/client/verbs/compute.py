"""Training and inference: train, predict, segment, evaluate."""

import warnings
from collections.abc import Mapping
from typing import Any, Literal

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from numpy.typing import NDArray

from biosegment.client import arrays, names
from biosegment.client.geometry import ZYX, Box, shape_proto
from biosegment.client.verbs.base import (
    ARRAY_SECONDS,
    START_SECONDS,
    Verbs,
    collect,
    request_id,
)
from biosegment.v1 import inference_pb2, jobs_pb2, training_pb2

Output = Literal["labels", "probabilities", "entropy"]
Augment = Literal["flips", "turns"]

_OUTPUTS: dict[Output, "inference_pb2.PredictionOutput.ValueType"] = {
    "labels": inference_pb2.PREDICTION_OUTPUT_LABELS,
    "probabilities": inference_pb2.PREDICTION_OUTPUT_PROBABILITIES,
    "entropy": inference_pb2.PREDICTION_OUTPUT_ENTROPY,
}
_AUGMENTATIONS: dict[Augment | None, "jobs_pb2.Augmentation.ValueType"] = {
    None: jobs_pb2.AUGMENTATION_UNSPECIFIED,
    "flips": jobs_pb2.AUGMENTATION_FLIPS,
    "turns": jobs_pb2.AUGMENTATION_TURNS,
}


class ComputeVerbs(Verbs):
    """What needs the network."""

    async def architectures(self) -> list[training_pb2.Architecture]:
        """The networks that models can be made of, with their parameters."""
        return await collect(
            self.stubs.training.ListArchitectures,
            training_pb2.ListArchitecturesRequest(),
            lambda response: response.architectures,
            1000,
        )

    async def architecture(
        self, name: str = "", parameters: Mapping[str, Any] | None = None
    ) -> training_pb2.Architecture:
        """One network with some parameters: all of them, the patch it trains on, what it sees.

        Args:
            name: As ``architectures`` lists them; empty means the one that suits the device of
                the training service, and ``reason`` says why.
            parameters: Absent ones take the defaults.

        Raises:
            InvalidArgumentError: There is no such architecture or parameter, or a value is not
                allowed.
        """
        request = training_pb2.ResolveArchitectureRequest(
            name=name, parameters=ParseDict(dict(parameters or {}), Struct())
        )
        answer = await self.stubs.training.ResolveArchitecture(request, timeout=START_SECONDS)
        return answer.architecture

    async def device(self) -> training_pb2.Device:
        """What networks are trained on: a GPU, or a processor."""
        request = training_pb2.DescribeDeviceRequest()
        answer = await self.stubs.training.DescribeDevice(request, timeout=START_SECONDS)
        return answer.device

    async def train(
        self,
        model: str,
        dataset: str,
        *,
        base_version: str | None = None,
        revision: int = 0,
        settings: jobs_pb2.TrainingSettings | None = None,
    ) -> jobs_pb2.Job:
        """Starts a training run on the annotations of a data set.

        Args:
            model: The model.
            dataset: The data set.
            base_version: The version to fine-tune; None means fresh weights.
            revision: Of the annotation log, which pins what is trained on; 0 means the newest.
            settings: How to train; zero values take the service's defaults.

        Returns:
            The job; once it succeeded, ``result.train_result.version`` names what it made.

        Raises:
            FailedPreconditionError: The revision holds no labels of the model's classes.
            InvalidArgumentError: The base version belongs to another model.
            NotFoundError: Model, version or data set does not exist.
        """
        name = self.name(names.MODEL, model)
        request = training_pb2.StartTrainingRequest(
            parent=names.project_of(name),
            request_id=request_id(),
            spec=jobs_pb2.TrainSpec(
                model=name,
                base_version=self.name(names.VERSION, base_version) if base_version else "",
                dataset=self.name(names.DATASET, dataset),
                revision=revision,
                settings=settings,
            ),
        )
        return (await self.stubs.training.StartTraining(request, timeout=START_SECONDS)).job

    async def predict(
        self, version: str, dataset: str, box: Box, *, output: Output = "labels"
    ) -> NDArray[Any]:
        """Predicts a box now.

        Args:
            version: The model version: ``m/3``, ``m/latest`` or a full name.
            dataset: The data set.
            box: The voxels, of level 0.
            output: What to compute.

        Returns:
            "labels": class values, uint8, axes ZYX. "probabilities": float32, axes CZYX in the
            model's channel order. "entropy": nats, float32, axes ZYX. What should be known of it,
            such as inverted contrast, comes as a Python warning.

        Raises:
            OutsideVolumeError: The box leaves the data set.
            ResourceExhaustedError: The box is too large for a direct answer; use ``segment``.
        """
        request = inference_pb2.PredictRegionRequest(
            version=self.name(names.VERSION, version),
            dataset=self.name(names.DATASET, dataset),
            box=box.to_proto(),
            output=_OUTPUTS[output],
        )
        decoder = arrays.Decoder()
        async for response in self.stubs.inference.PredictRegion(request, timeout=ARRAY_SECONDS):
            decoder.feed(response.chunk)
            for sentence in response.warnings:
                warnings.warn(sentence, stacklevel=2)
        return decoder.array()[1]

    async def segment(
        self,
        version: str,
        dataset: str,
        *,
        segmentation: str | None = None,
        box: Box | None = None,
        block: ZYX | None = None,
        entropy_volume: str | None = None,
        mask: str | None = None,
        augment: Augment | None = None,
        three_orientations: bool = False,
    ) -> jobs_pb2.Job:
        """Starts the segmentation of a whole data set, block by block.

        Args:
            version: The model version.
            dataset: The data set.
            segmentation: The name of the segmentation within its data set, and of its volume
                (``<data set>-<name>``); None names both after the job.
            box: The voxels to segment; None means all.
            block: Extent of one block (z, y, x); None lets the service choose.
            entropy_volume: Name of a volume to make of the uncertainty: entropy of the class
                probabilities in nats, float32, multiscale; None makes none.
            mask: Name of a volume that says where to look: voxels above 0. It has the data set's
                voxels, or ones larger by whole numbers, over the same extent. Elsewhere the
                output is 0, and blocks wholly outside are not read. None means everywhere.
            augment: Other ways to look at each section, over which class probabilities are
                averaged: "flips" (4 ways; 8 for 3-D networks) or "turns" (8; 16), each a forward.
            three_orientations: Average over sections along z, y and x, for networks of sections and
                voxels nearly as long as wide. Takes three times as long, and what the halo along z
                costs: thrice that for deep networks, less in thicker blocks.

        Returns:
            The job; once it succeeded, ``result.segment_result.volume`` names what it made.

        Raises:
            AlreadyExistsError: The name is taken.
            FailedPreconditionError: The model, the mask or the orientations do not fit the data
                set.
        """
        name = self.name(names.DATASET, dataset)
        project, short = names.parse(names.DATASET, name)
        spec = jobs_pb2.SegmentSpec(
            dataset=name,
            version=self.name(names.VERSION, version),
            box=box.to_proto() if box else None,
            block=shape_proto(block) if block else None,
            entropy_volume=self.name(names.VOLUME, entropy_volume) if entropy_volume else "",
            mask_volume=await self._any_volume_name(mask) if mask else "",
            augmentation=_AUGMENTATIONS[augment],
            three_orientations=three_orientations,
        )
        if segmentation is not None:
            names.check_id(segmentation, "segmentation")
            spec.segmentation = names.SEGMENTATION.format(project, short, segmentation)
            volume = names.check_id(f"{short}-{segmentation}", "volume")
            spec.volume = names.VOLUME.format(project, volume)
        request = inference_pb2.StartSegmentationRequest(
            parent=names.PROJECT.format(project), request_id=request_id(), spec=spec
        )
        return (await self.stubs.inference.StartSegmentation(request, timeout=START_SECONDS)).job

    async def evaluate(
        self, version: str, dataset: str, reference: str, *, box: Box | None = None
    ) -> jobs_pb2.Job:
        """Starts the measurement of a model version against reference labels.

        Args:
            version: The model version.
            dataset: The data set whose raw volume is predicted.
            reference: The label volume taken as truth.
            box: The voxels to compare; None means all.

        Returns:
            The job; once it succeeded, ``result.evaluate_result.metrics`` holds the figures.
        """
        name = self.name(names.DATASET, dataset)
        request = inference_pb2.StartEvaluationRequest(
            parent=names.project_of(name),
            request_id=request_id(),
            spec=jobs_pb2.EvaluateSpec(
                version=self.name(names.VERSION, version),
                dataset=name,
                reference_volume=await self._any_volume_name(reference),
                box=box.to_proto() if box else None,
            ),
        )
        return (await self.stubs.inference.StartEvaluation(request, timeout=START_SECONDS)).job
