"""What the record says of a campaign."""

import uuid

from biosegment.acquisition.strategies.random import Random
from biosegment.acquisition.strategies.table import find
from biosegment.client.names import ROUND, parse, parse_int
from biosegment.client.stubs import AsyncStubs
from biosegment.v1 import campaigns_pb2 as pb
from biosegment.v1 import jobs_pb2

_PAGE = 1000


async def campaign_of(stubs: AsyncStubs, name: str) -> pb.Campaign:
    """A campaign.

    Raises:
        NotFoundError: There is none of that name.
    """
    return (await stubs.campaigns.GetCampaign(pb.GetCampaignRequest(name=name))).campaign


async def rounds_of(stubs: AsyncStubs, campaign: str) -> list[pb.Round]:
    """The rounds of a campaign, first to last."""
    found: list[pb.Round] = []
    request = pb.ListRoundsRequest(parent=campaign, page_size=_PAGE)
    while True:
        page = await stubs.campaigns.ListRounds(request)
        found += page.rounds
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def proposals_of(
    stubs: AsyncStubs, campaign: str, *, round_index: int = 0
) -> list[pb.Proposal]:
    """The proposals of a campaign, or of one of its rounds."""
    found: list[pb.Proposal] = []
    request = pb.ListProposalsRequest(parent=campaign, page_size=_PAGE, round_index=round_index)
    while True:
        page = await stubs.campaigns.ListProposals(request)
        found += page.proposals
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def job_of(stubs: AsyncStubs, name: str) -> jobs_pb2.Job:
    """A job.

    Raises:
        NotFoundError: There is none of that name.
    """
    return (await stubs.jobs.GetJob(jobs_pb2.GetJobRequest(name=name))).job


async def active_campaigns(stubs: AsyncStubs) -> list[str]:
    """The names of every active campaign of every project."""
    found: list[str] = []
    request = pb.ListCampaignsRequest(
        parent="projects/-", page_size=_PAGE, states=[pb.CAMPAIGN_STATE_ACTIVE]
    )
    while True:
        page = await stubs.campaigns.ListCampaigns(request)
        found += [campaign.name for campaign in page.campaigns]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def index_of(round_name: str) -> int:
    """The number of a round, from 1."""
    return parse_int(ROUND, round_name)[1]


def campaign_name(round_name: str) -> str:
    """The campaign of a round."""
    parse(ROUND, round_name)
    return round_name.rpartition("/rounds/")[0]


def step_id(round_name: str, step: str) -> str:
    """The request_id of a step: the same whoever takes it, so that it is taken once."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"biosegment:{round_name}:{step}"))


def awaits_pretraining(campaign: pb.Campaign) -> bool:
    """Whether the first round's strategy looks at patches by the network that saw raw voxels."""
    first = find(campaign.first_strategy.name or Random.name)
    return campaign.HasField("pretraining") and first.needs_model()


def is_halved(campaign: pb.Campaign) -> bool:
    """Whether the first batch comes in two rounds.

    So people label one half while the network learns from raw voxels, and what both taught it
    chooses the other half. A single patch is not halved.
    """
    at_once = campaign.HasField("pretraining") and not awaits_pretraining(campaign)
    return at_once and campaign.initial_patches > 1


def batch_size(campaign: pb.Campaign, labelled: int, round_index: int) -> int:
    """Patches that a round proposes; the last batch shrinks to what the budget leaves.

    Args:
        campaign: The campaign.
        labelled: Patches answered so far.
        round_index: From 1.
    """
    if round_index == 1:
        wanted = campaign.initial_patches // (2 if is_halved(campaign) else 1)
    elif round_index == 2 and is_halved(campaign):
        wanted = campaign.initial_patches - labelled
    else:
        wanted = campaign.batch_patches
    return max(0, min(wanted, campaign.budget_patches - labelled))


def first_ranked(campaign: pb.Campaign) -> int:
    """The first round that a model which has seen labels ranks."""
    return 1 if campaign.base_version else 2


def progress(campaign: pb.Campaign, round_index: int) -> float:
    """How far a campaign is: 0 in the first round that a model ranks, 1 in the last.

    The last is the one in which the budget is spent if every patch is answered; later ones, where
    some were passed over, stay at 1.

    Args:
        campaign: The campaign.
        round_index: From 1.
    """
    batches = -(-(campaign.budget_patches - campaign.initial_patches) // campaign.batch_patches)
    first = first_ranked(campaign)
    last = (2 if is_halved(campaign) else 1) + batches
    return min(1.0, max(0.0, (round_index - first) / max(1, last - first)))
