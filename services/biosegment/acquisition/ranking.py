"""The work of a rank job: draw a pool, have it scored, choose, and say what was chosen."""

import asyncio
from collections.abc import Sequence
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from biosegment.acquisition import record
from biosegment.acquisition.candidates import draw_pool, generator
from biosegment.acquisition.driver import EXHAUSTED
from biosegment.acquisition.strategies.base import (
    Candidates,
    Choice,
    Strategy,
    read_parameters,
)
from biosegment.acquisition.strategies.random import Random
from biosegment.acquisition.strategies.table import find
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

_POOL, _SELECT = 1, 2


async def rank(context: JobContext) -> jobs_pb2.JobResult:
    """Chooses the patches of a round.

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
    strategy = strategy_of(campaign, current.base_version)
    region = await _region(context.stubs, campaign)
    pool = await asyncio.to_thread(
        draw_pool,
        region,
        shape_of(campaign.patch),
        campaign.pool_patches,
        generator(campaign.seed, index, _POOL),
        taken=taken,
        max_overlap=strategy.parameters.max_overlap,
    )
    if not pool:
        raise FailedPreconditionError(
            f"The region {region} of {campaign.name} has no room for another patch: all that fits "
            "is labelled.",
            **{EXHAUSTED: "true"},
        )
    candidates = Candidates(boxes=pool, labelled=taken)
    if strategy.needs_model():
        candidates = await _scored(context, campaign, current.base_version, strategy, candidates)
    done = sum(proposal.state == pb.PROPOSAL_STATE_DONE for proposal in proposed)
    choices = await asyncio.to_thread(
        strategy.select,
        candidates,
        # At least one, should the last answers of an earlier round have come late.
        max(1, record.batch_size(campaign, done, index)),
        generator(campaign.seed, index, _SELECT),
    )
    return _result(candidates, choices)


def strategy_of(campaign: pb.Campaign, base_version: str) -> Strategy:
    """The strategy of a campaign; while there is no model yet, random where one is needed.

    Raises:
        InvalidArgumentError: This installation has no such strategy or parameter.
    """
    wanted = find(campaign.strategy.name)
    parameters = read_parameters(wanted, dict(campaign.strategy.parameters))
    if wanted.needs_model() and not base_version:
        return Random(Random.parameters_type(max_overlap=parameters.max_overlap))
    return wanted(parameters)


async def _region(stubs: AsyncStubs, campaign: pb.Campaign) -> Box:
    if campaign.HasField("region"):
        return Box.from_proto(campaign.region)
    answer = await stubs.registry.GetDataset(registry_pb2.GetDatasetRequest(name=campaign.dataset))
    return Box.of_shape(shape_of(answer.dataset.shape))


async def _scored(
    context: JobContext,
    campaign: pb.Campaign,
    version: str,
    strategy: Strategy,
    candidates: Candidates,
) -> Candidates:
    boxes = candidates.boxes
    scores: list[inference_pb2.PatchScore | None] = [None] * len(boxes)
    request = inference_pb2.ScorePatchesRequest(
        version=version,
        dataset=campaign.dataset,
        boxes=[box.to_proto() for box in boxes],
        with_embeddings=strategy.embeddings,
    )
    done = 0
    async for answer in context.stubs.inference.ScorePatches(request):
        if context.cancelled.is_set():
            raise JobCancelledError("The ranking was cancelled.")
        for score in answer.scores:
            if 0 <= score.index < len(scores):
                done += scores[score.index] is None
                scores[score.index] = score
        context.progress(done, len(boxes), "scoring")
    return with_scores(candidates, strategy, scores)


def with_scores(
    candidates: Candidates,
    strategy: Strategy,
    scores: Sequence[inference_pb2.PatchScore | None],
) -> Candidates:
    """The candidates with what inference said of them.

    Raises:
        InternalError: A patch was left out, or a figure is missing or not finite.
    """
    found = [score for score in scores if score is not None]
    if len(found) < len(scores):
        raise InternalError(
            f"Inference scored {len(found)} of {len(scores)} patches; the ranking would be unfair."
        )
    names = set(found[0].statistics) | strategy.statistics
    statistics = {name: _figures(found, name) for name in sorted(names)}
    embeddings: NDArray[np.float32] | None = None
    if strategy.embeddings:
        lengths = {len(score.embedding) for score in found}
        if lengths == {0} or len(lengths) > 1:
            raise InternalError("Inference sent embeddings of no or of different lengths.")
        embeddings = np.array([score.embedding for score in found], np.float32)
    return Candidates(
        boxes=candidates.boxes,
        statistics=statistics,
        embeddings=embeddings,
        labelled=candidates.labelled,
    )


def _figures(scores: Sequence[inference_pb2.PatchScore], name: str) -> NDArray[np.float64]:
    figures = [score.statistics.get(name, float("nan")) for score in scores]
    if not all(isfinite(figure) for figure in figures):
        raise InternalError(
            f'Inference sent no finite "{name}" for some of {len(scores)} patches.', statistic=name
        )
    return np.array(figures, np.float64)


def _result(candidates: Candidates, choices: Sequence[Choice]) -> jobs_pb2.JobResult:
    patches = [
        jobs_pb2.RankedPatch(
            box=candidates.boxes[choice.index].to_proto(),
            score=choice.score,
            statistics={
                name: float(values[choice.index]) for name, values in candidates.statistics.items()
            },
        )
        for choice in choices
    ]
    return jobs_pb2.JobResult(
        rank_result=jobs_pb2.RankResult(patches=patches, candidates=len(candidates.boxes))
    )
