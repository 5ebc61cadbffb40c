"""The work of a rank job: gather candidates, have them scored, choose, and say what was chosen."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from biosegment.acquisition import record
from biosegment.acquisition.candidates import generator
from biosegment.acquisition.driver import EXHAUSTED
from biosegment.acquisition.pool import Pool, gather
from biosegment.acquisition.strategies.base import (
    Candidates,
    Choice,
    Parameters,
    Strategy,
    read_parameters,
)
from biosegment.acquisition.strategies.random import Random
from biosegment.acquisition.strategies.table import find
from biosegment.client.connection import Connection
from biosegment.client.errors import (
    FailedPreconditionError,
    InternalError,
    JobCancelledError,
)
from biosegment.client.geometry import Box, shape_of
from biosegment.client.stubs import AsyncStubs
from biosegment.runtime.worker import JobContext
from biosegment.v1 import campaigns_pb2 as pb
from biosegment.v1 import inference_pb2, jobs_pb2, registry_pb2

_SELECT, _DROPOUT = 2, 3


async def rank(context: JobContext, connection: Connection) -> jobs_pb2.JobResult:
    """Chooses the patches of a round.

    Args:
        context: Of the job.
        connection: To reach the store, for whoever searches a volume.

    Raises:
        FailedPreconditionError: The region has no room for another patch.
        JobCancelledError: The job was cancelled.
    """
    name = context.job.rank_spec.round
    current = (await context.stubs.campaigns.GetRound(pb.GetRoundRequest(name=name))).round
    campaign = await record.campaign_of(context.stubs, record.campaign_name(name))
    index = record.index_of(name)
    proposed = await record.proposals_of(context.stubs, campaign.name)
    taken = [Box.from_proto(proposal.box) for proposal in proposed]
    strategy = strategy_of(campaign, index, current.base_version)
    region = await _region(context.stubs, campaign)
    clock = _Clock()
    pool = await gather(
        context,
        connection,
        campaign,
        current,
        region,
        taken=taken,
        max_overlap=strategy.parameters.max_overlap,
    )
    if not pool.boxes:
        raise FailedPreconditionError(
            f"The region {region} of {campaign.name} has no room for another patch: all that fits "
            "is labelled or padding.",
            **{EXHAUSTED: "true"},
        )
    clock.lap("candidates")
    candidates = Candidates(
        boxes=pool.boxes, labelled=taken, progress=record.progress(campaign, index)
    )
    said: list[str] = []
    others = await _ensemble(context.stubs, strategy, current.base_version)
    if strategy.ensemble_versions > 1 and not others:
        # One version cannot disagree with itself.
        strategy = _random(strategy.parameters)
    if strategy.needs_model():
        request = inference_pb2.ScorePatchesRequest(
            version=current.base_version,
            dataset=campaign.dataset,
            with_embeddings=strategy.embeddings,
            dropout_passes=strategy.dropout_passes,
            seed=int(generator(campaign.seed, index, _DROPOUT).integers(1 << 62)),
            ensemble_versions=others,
        )
        candidates = await _scored(context, request, strategy, candidates, said)
    clock.lap("scoring")
    done = sum(proposal.state == pb.PROPOSAL_STATE_DONE for proposal in proposed)
    choices = await asyncio.to_thread(
        strategy.select,
        candidates,
        # At least one, should the last answers of an earlier round have come late.
        max(1, record.batch_size(campaign, done, index)),
        generator(campaign.seed, index, _SELECT),
    )
    clock.lap("selection")
    result = _result(candidates, choices, pool, clock.seconds)
    result.warnings.extend(said)
    return result


class _Clock:
    """Seconds of the parts of the work, one after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.monotonic()

    def lap(self, part: str) -> None:
        """Books what has passed since the last part."""
        ended = time.monotonic()
        self.seconds[part], self._began = ended - self._began, ended


def strategy_of(campaign: pb.Campaign, index: int, base_version: str) -> Strategy:
    """The strategy of a round, of the first batch's until a model has seen labels.

    While there is no model at all, random where one is needed.

    Args:
        campaign: The campaign.
        index: Of the round, from 1.
        base_version: The version that ranks; empty if there is none.

    Raises:
        InvalidArgumentError: This installation has no such strategy or parameter.
    """
    blind = index < record.first_ranked(campaign)
    said = campaign.first_strategy if blind else campaign.strategy
    wanted = find(said.name or Random.name)
    parameters = read_parameters(wanted, dict(said.parameters))
    if wanted.needs_model() and not base_version:
        return _random(parameters)
    return wanted(parameters)


def _random(parameters: Parameters) -> Random:
    return Random(Parameters(max_overlap=parameters.max_overlap))


async def _region(stubs: AsyncStubs, campaign: pb.Campaign) -> Box:
    if campaign.HasField("region"):
        return Box.from_proto(campaign.region)
    answer = await stubs.registry.GetDataset(registry_pb2.GetDatasetRequest(name=campaign.dataset))
    return Box.of_shape(shape_of(answer.dataset.shape))


async def _ensemble(stubs: AsyncStubs, strategy: Strategy, version: str) -> list[str]:
    """The newest versions of a model that a strategy compares, without the one that ranks."""
    others = strategy.ensemble_versions - 1
    if others < 1 or not version:
        return []
    request = registry_pb2.ListModelVersionsRequest(
        parent=version.rpartition("/versions/")[0], page_size=others + 1
    )
    found = (await stubs.registry.ListModelVersions(request)).versions
    return [other.name for other in found if other.name != version][:others]


async def _scored(
    context: JobContext,
    request: inference_pb2.ScorePatchesRequest,
    strategy: Strategy,
    candidates: Candidates,
    said: list[str],
) -> Candidates:
    scores = await _scores(context, request, candidates.boxes, "scoring", said)
    labelled: Sequence[inference_pb2.PatchScore | None] = ()
    if strategy.embeddings and candidates.labelled:
        plain = inference_pb2.ScorePatchesRequest(
            version=request.version, dataset=request.dataset, with_embeddings=True
        )
        stage = "embedding what is labelled"
        labelled = await _scores(context, plain, candidates.labelled, stage, said)
    return with_scores(candidates, strategy, scores, labelled)


async def _scores(
    context: JobContext,
    what: inference_pb2.ScorePatchesRequest,
    boxes: Sequence[Box],
    stage: str,
    said: list[str],
) -> list[inference_pb2.PatchScore | None]:
    """The scores of boxes, None for one that inference left out; adds what inference said."""
    request = inference_pb2.ScorePatchesRequest(boxes=[box.to_proto() for box in boxes])
    request.MergeFrom(what)
    scores: list[inference_pb2.PatchScore | None] = [None] * len(boxes)
    done = 0
    async for answer in context.stubs.inference.ScorePatches(request):
        said.extend(sentence for sentence in answer.warnings if sentence not in said)
        if context.cancelled.is_set():
            raise JobCancelledError("The ranking was cancelled.")
        for score in answer.scores:
            if 0 <= score.index < len(scores):
                done += scores[score.index] is None
                scores[score.index] = score
        context.progress(done, len(boxes), stage)
    return scores


def with_scores(
    candidates: Candidates,
    strategy: Strategy,
    scores: Sequence[inference_pb2.PatchScore | None],
    labelled: Sequence[inference_pb2.PatchScore | None] = (),
) -> Candidates:
    """The candidates with what inference said of them.

    Args:
        candidates: The patches.
        strategy: What will read them.
        scores: Of each candidate, None where one is missing.
        labelled: Of each patch labelled, if the strategy reads embeddings.

    Raises:
        InternalError: A patch was left out, or a figure is missing or not finite.
    """
    found = _complete(scores)
    names = set(found[0].statistics) | strategy.statistics
    statistics = {name: _figures(found, name) for name in sorted(names)}
    embeddings = labelled_embeddings = None
    if strategy.embeddings:
        together = _embeddings([*found, *_complete(labelled)])
        embeddings, labelled_embeddings = together[: len(found)], together[len(found) :]
    return replace(
        candidates,
        statistics=statistics,
        embeddings=embeddings,
        labelled_embeddings=labelled_embeddings,
    )


def _complete(
    scores: Sequence[inference_pb2.PatchScore | None],
) -> list[inference_pb2.PatchScore]:
    found = [score for score in scores if score is not None]
    if len(found) < len(scores):
        raise InternalError(
            f"Inference scored {len(found)} of {len(scores)} patches; the ranking would be unfair."
        )
    return found


def _embeddings(scores: Sequence[inference_pb2.PatchScore]) -> NDArray[np.float32]:
    lengths = {len(score.embedding) for score in scores}
    if lengths == {0} or len(lengths) > 1:
        raise InternalError("Inference sent embeddings of no or of different lengths.")
    embeddings = np.array([score.embedding for score in scores], np.float32)
    if not np.isfinite(embeddings).all():
        raise InternalError("Inference sent embeddings that are not finite.")
    return embeddings


def _figures(scores: Sequence[inference_pb2.PatchScore], name: str) -> NDArray[np.float64]:
    figures = [score.statistics.get(name, float("nan")) for score in scores]
    if not all(isfinite(figure) for figure in figures):
        raise InternalError(
            f'Inference sent no finite "{name}" for some of {len(scores)} patches.', statistic=name
        )
    return np.array(figures, np.float64)


def _result(
    candidates: Candidates, choices: Sequence[Choice], pool: Pool, seconds: dict[str, float]
) -> jobs_pb2.JobResult:
    patches = [
        jobs_pb2.RankedPatch(
            box=candidates.boxes[choice.index].to_proto(),
            # Chosen without a look at the patch, it is the order of a draw.
            score=choice.score if candidates.statistics else None,
            statistics={
                name: float(values[choice.index]) for name, values in candidates.statistics.items()
            },
        )
        for choice in choices
    ]
    return jobs_pb2.JobResult(
        rank_result=jobs_pb2.RankResult(
            patches=patches,
            candidates=len(candidates.boxes),
            source=pool.source,
            search=pool.search,
            seconds=seconds,
        )
    )
