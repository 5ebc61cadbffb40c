"""The network's part of a trial: the services' own training, scoring and evaluation on arrays."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from benchmarks.label_efficiency.data import Data
from benchmarks.label_efficiency.plan import Start
from benchmarks.label_efficiency.protocol import Protocol
from biosegment.acquisition.ranking import with_scores
from biosegment.acquisition.strategies.base import Candidates, Strategy
from biosegment.client.geometry import Box
from biosegment.inference.child.evaluate import measure
from biosegment.inference.child.predict import Predictor
from biosegment.inference.child.score import NO_COMPARISON, Comparison, score
from biosegment.nets import catalog
from biosegment.nets.architectures import build
from biosegment.nets.weights import Weights
from biosegment.training.child.fit import fit
from biosegment.training.child.log_replay import replay
from biosegment.training.child.precision import AUTO, Precision
from biosegment.training.child.pretrain import pretrain
from biosegment.training.child.samples import CropSampler, Sample, collect, input_statistics
from biosegment.training.child.settings import Hooks, Settings
from biosegment.v1 import inference_pb2

_ARCHITECTURE = "unet2d"
_FORWARD_PIXELS = 1 << 18
_DICE_WEIGHT = 0.5
_QUIET = Hooks(lambda _step, _loss: None, lambda _checkpoint: None, lambda: False)


class Learner:
    """Trains, scores and evaluates on one data set by one protocol."""

    def __init__(self, data: Data, protocol: Protocol, *, precision: Precision = AUTO) -> None:
        self._data = data
        self._protocol = protocol
        self._precision = precision

    def fresh(self, seed: int, *, dropout: float = 0.0) -> Weights:
        """A network with fresh weights."""
        given = {"feature_maps": self._protocol.feature_maps, "dropout": dropout}
        parameters = catalog.resolve(_ARCHITECTURE, given)
        torch.manual_seed(seed)
        classes = self._data.classes
        module = build(_ARCHITECTURE, parameters, len(classes))
        return Weights(module, _ARCHITECTURE, parameters, classes)

    def pretrained(
        self, seed: int, pool: Sequence[Box], start: Start, *, dropout: float = 0.0
    ) -> Weights:
        """A network that has learned from the raw voxels of a pool, but from no label."""
        made = self.fresh(seed, dropout=dropout)
        crops = np.stack([self._data.train.read_raw(box) for box in pool])
        steps = start.steps or self._protocol.pretrain_steps
        settings = replace(
            self._settings(steps, self._protocol.first_rate, seed), max_seconds=60 * start.minutes
        )
        taken = 0

        def count(step: int, _loss: float) -> None:
            nonlocal taken
            taken = step

        hooks = replace(_QUIET, progress=count, finishing=lambda: 0 < start.cut <= taken)
        pretrain(made.module, crops, settings, hooks)
        return made

    def train(
        self, start: Weights, labelled: Sequence[Box], *, steps: int, rate: float, seed: int
    ) -> None:
        """Trains on labelled patches, in place."""
        settings = self._settings(steps, rate, seed)
        sampler = CropSampler(
            self.samples(labelled),
            patch=settings.patch,
            batch_size=settings.batch_size,
            seed=settings.seed,
        )
        fit(start.module, sampler, settings, _QUIET)

    def samples(self, labelled: Sequence[Box]) -> list[Sample]:
        """What a training run makes of these patches as commits to the annotation log."""
        train = self._data.train
        return collect(
            replay((box, train.read_labels(box)) for box in labelled),
            read=train.read_raw,
            shape=train.shape,
            classes=self._data.classes,
            patch=self._protocol.shape,
        )

    def set_statistics(self, start: Weights, labelled: Sequence[Box]) -> None:
        """Gives fresh weights the input constants of the labelled patches."""
        start.module.set_input_statistics(*input_statistics(self.samples(labelled)))

    def iou(self, weights: Weights) -> float:
        """Mean IoU over the classes but background, on the test part."""
        test = self._data.test
        counts = measure(
            self._predictor(weights),
            raw=test.read_raw,
            reference=test.read_labels,
            shape=test.shape,
            box=Box.of_shape(test.shape),
        )
        return counts.figures().get("iou", 0.0)

    def candidates(
        self,
        weights: Weights,
        strategy: Strategy,
        bare: Candidates,
        *,
        earlier: Sequence[Weights] = (),
        seed: int = 0,
    ) -> Candidates:
        """A pool with what a strategy needs to know of it.

        Args:
            weights: The network that ranks.
            strategy: What will read the answer.
            bare: The pool, and what is labelled.
            earlier: Networks of earlier rounds, for strategies that compare some.
            seed: Of passes with dropout.
        """
        if not strategy.needs_model():
            return bare
        others = tuple(self._predictor(other) for other in earlier)
        comparison = Comparison(others, strategy.dropout_passes, seed)
        scores = self._scores(weights, strategy.embeddings, bare.boxes, comparison)
        labelled: Sequence[inference_pb2.PatchScore] = ()
        if strategy.embeddings and bare.labelled:
            labelled = self._scores(weights, True, bare.labelled, NO_COMPARISON)
        return with_scores(bare, strategy, scores, labelled)

    def _scores(
        self, weights: Weights, embeddings: bool, boxes: Sequence[Box], comparison: Comparison
    ) -> list[inference_pb2.PatchScore]:
        found = score(
            self._predictor(weights),
            np.stack([self._data.train.read_raw(box) for box in boxes]),
            with_embeddings=embeddings,
            comparison=comparison,
        )
        return [
            inference_pb2.PatchScore(
                index=index,
                statistics=dict(zip(found.names, values.tolist(), strict=True)),
                embedding=found.embeddings[index] if found.embeddings is not None else (),
            )
            for index, values in enumerate(found.statistics)
        ]

    def _predictor(self, weights: Weights) -> Predictor:
        return Predictor(weights.module, weights.classes, _FORWARD_PIXELS)

    def _settings(self, steps: int, rate: float, seed: int) -> Settings:
        return Settings(
            steps=steps,
            batch_size=self._protocol.batch_size,
            learning_rate=rate,
            patch=self._protocol.shape,
            seed=seed,
            checkpoint_steps=steps,
            dice_weight=_DICE_WEIGHT,
            precision=self._precision,
        )


def with_notes(weights: Weights, **notes: object) -> Weights:
    """The same weights with other words in their file."""
    return replace(weights, notes=notes)
