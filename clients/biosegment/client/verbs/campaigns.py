"""Campaigns: start, advance, look at, and take proposals."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from biosegment.client import names
from biosegment.client.geometry import ZYX, Box, shape_proto
from biosegment.client.verbs.base import QUICK_SECONDS, START_SECONDS, Verbs, collect, request_id
from biosegment.v1 import acquisition_pb2, jobs_pb2
from biosegment.v1 import campaigns_pb2 as pb


class CampaignVerbs(Verbs):
    """Active learning, step by step or by itself."""

    async def strategies(self) -> list[acquisition_pb2.StrategyDescription]:
        """The acquisition functions on offer, with their parameters and sources."""
        return await collect(
            self.stubs.acquisition.ListStrategies,
            acquisition_pb2.ListStrategiesRequest(),
            lambda response: response.strategies,
            1000,
        )

    async def start_campaign(
        self,
        campaign: str,
        *,
        dataset: str,
        model: str,
        base_version: str | None = None,
        strategy: str = "entropy",
        strategy_parameters: Mapping[str, Any] | None = None,
        patch: ZYX | None = None,
        initial_patches: int = 0,
        batch_patches: int = 0,
        pool_patches: int = 0,
        budget_patches: int = 0,
        region: Box | None = None,
        evaluate_on: tuple[str, Box | None] | None = None,
        pretraining: jobs_pb2.TrainingSettings | None = None,
        skip_pretraining: bool = False,
        first_strategy: str = "",
        initial_training: jobs_pb2.TrainingSettings | None = None,
        round_training: jobs_pb2.TrainingSettings | None = None,
        stopping: pb.StoppingRule | None = None,
        candidates: "pb.CandidateSource.ValueType" = pb.CANDIDATE_SOURCE_UNSPECIFIED,
        refresh_rounds: int = 0,
        seed: int = 0,
        automatic: bool = False,
        display_name: str = "",
        validate_only: bool = False,
    ) -> pb.Campaign:
        """Starts an active-learning campaign. Zero and None take the service's defaults.

        Args:
            campaign: Its name.
            dataset: The data set.
            model: The model; its classes are the campaign's.
            base_version: The version to start from; None begins with a random first round.
            strategy: The acquisition function, as ``strategies`` lists them.
            strategy_parameters: Its parameters; absent ones take their defaults.
            patch: Patch extent (z, y, x); z is 1 for two-dimensional networks.
            initial_patches: Patches of the first batch (m in the paper), which with pretraining
                comes in two rounds of one half each.
            batch_patches: Patches in every later round (k).
            pool_patches: Candidates looked at in each round (n).
            budget_patches: Patches to label in all.
            region: Where proposals may lie; None means the whole data set.
            evaluate_on: A label volume taken as truth and the box to compare (None: all), to
                measure each round's model; keep the box apart from the region.
            pretraining: How to train on the raw voxels of the region while people answer the
                first round; None leaves it to the service. There is none with a base_version.
                One with max_seconds ends as soon as the first round is answered.
            skip_pretraining: Begin with fresh weights that have seen nothing.
            first_strategy: The acquisition function of the first round, random by default; one
                that needs a model waits for the pretraining.
            initial_training: How to train while no more than the first batch is answered; part of
                it takes part of the steps.
            round_training: How to fine-tune in later rounds.
            stopping: When to end before the budget is spent; None means never.
            candidates: Where candidates come from: a random POOL, or the patches of the region
                that the UNCERTAINTY_VOLUME of a segmentation by the model points at.
            refresh_rounds: With UNCERTAINTY_VOLUME: make a fresh one in every so many rounds; 0
                means that the newest one made by any segmentation serves.
            seed: Of every random choice.
            automatic: Each step starts the next by itself; otherwise only ``advance`` does.
            display_name: For people.
            validate_only: Check everything, record nothing.

        Returns:
            The campaign with every default filled in; ``waiting`` says what comes next.

        Raises:
            AlreadyExistsError: The name is taken.
            InvalidArgumentError: A part does not fit the others.
            NotFoundError: Data set, model or version does not exist.
        """
        wanted = pb.Campaign(
            name=self.name(names.CAMPAIGN, campaign),
            display_name=display_name,
            dataset=self.name(names.DATASET, dataset),
            model=self.name(names.MODEL, model),
            base_version=self.name(names.VERSION, base_version) if base_version else "",
            strategy=pb.Strategy(
                name=strategy, parameters=ParseDict(dict(strategy_parameters or {}), Struct())
            ),
            patch=shape_proto(patch) if patch else None,
            initial_patches=initial_patches,
            batch_patches=batch_patches,
            pool_patches=pool_patches,
            budget_patches=budget_patches,
            region=region.to_proto() if region else None,
            pretraining=pretraining,
            skip_pretraining=skip_pretraining,
            first_strategy=pb.Strategy(name=first_strategy) if first_strategy else None,
            initial_training=initial_training,
            round_training=round_training,
            stopping=stopping,
            candidates=candidates,
            refresh_rounds=refresh_rounds,
            evaluation=self._evaluation(evaluate_on),
            seed=seed,
            automatic=automatic,
        )
        request = acquisition_pb2.StartCampaignRequest(
            request_id=request_id(), campaign=wanted, validate_only=validate_only
        )
        answer = await self.stubs.acquisition.StartCampaign(request, timeout=START_SECONDS)
        return answer.campaign

    def _evaluation(self, plan: tuple[str, Box | None] | None) -> pb.EvaluationPlan | None:
        if plan is None:
            return None
        volume, box = plan
        return pb.EvaluationPlan(
            reference_volume=self.name(names.VOLUME, volume),
            box=box.to_proto() if box else None,
        )

    async def advance(
        self, campaign: str, *, close_round: bool = False
    ) -> acquisition_pb2.AdvanceCampaignResponse:
        """Does the next step of a campaign if it is due.

        Args:
            campaign: The campaign.
            close_round: Start training even if proposals are still open, on what there is.

        Returns:
            The campaign, its newest round, and in ``message`` what was done or is waited for.
        """
        request = acquisition_pb2.AdvanceCampaignRequest(
            name=self.name(names.CAMPAIGN, campaign), close_round=close_round
        )
        return await self.stubs.acquisition.AdvanceCampaign(request, timeout=START_SECONDS)

    async def campaign(self, campaign: str) -> pb.Campaign:
        """One campaign.

        Raises:
            NotFoundError: There is none of that name.
        """
        request = pb.GetCampaignRequest(name=self.name(names.CAMPAIGN, campaign))
        return (await self.stubs.campaigns.GetCampaign(request, timeout=QUICK_SECONDS)).campaign

    async def campaigns(self, *, limit: int = 1000) -> list[pb.Campaign]:
        """The campaigns of the project, by name."""
        return await collect(
            self.stubs.campaigns.ListCampaigns,
            pb.ListCampaignsRequest(parent=self.parent),
            lambda response: response.campaigns,
            limit,
        )

    async def set_campaign_state(
        self, campaign: str, state: "pb.CampaignState.ValueType", reason: str = ""
    ) -> pb.Campaign:
        """Pauses (PAUSED), resumes (ACTIVE) or ends (FINISHED) a campaign.

        Raises:
            FailedPreconditionError: It cannot go there from where it stands.
        """
        request = pb.SetCampaignStateRequest(
            name=self.name(names.CAMPAIGN, campaign), state=state, reason=reason
        )
        answer = await self.stubs.campaigns.SetCampaignState(request, timeout=QUICK_SECONDS)
        return answer.campaign

    async def stop_campaign(self, campaign: str, reason: str = "") -> pb.SetCampaignStateResponse:
        """Ends a campaign for good, and cancels the jobs that it has started.

        Returns:
            The campaign, and the names of the jobs that were cancelled.

        Raises:
            FailedPreconditionError: It cannot end from where it stands.
        """
        request = pb.SetCampaignStateRequest(
            name=self.name(names.CAMPAIGN, campaign),
            state=pb.CAMPAIGN_STATE_FINISHED,
            reason=reason,
        )
        return await self.stubs.campaigns.SetCampaignState(request, timeout=QUICK_SECONDS)

    async def rounds(self, campaign: str, *, limit: int = 1000) -> list[pb.Round]:
        """The rounds of a campaign, first to last."""
        return await collect(
            self.stubs.campaigns.ListRounds,
            pb.ListRoundsRequest(parent=self.name(names.CAMPAIGN, campaign)),
            lambda response: response.rounds,
            limit,
        )

    async def cost(self, campaign: str) -> pb.Cost:
        """What labelling a campaign took in all; each of ``rounds`` has its own share."""
        return total_cost(await self.rounds(campaign))

    async def proposals(
        self,
        campaign: str,
        *,
        round_index: int = 0,
        states: Sequence["pb.ProposalState.ValueType"] = (),
        limit: int = 1000,
    ) -> list[pb.Proposal]:
        """The proposals of a campaign, by round, best first.

        Args:
            campaign: The campaign.
            round_index: Only of this round; 0 means all.
            states: Only these; empty means all.
            limit: At most this many.
        """
        request = pb.ListProposalsRequest(
            parent=self.name(names.CAMPAIGN, campaign), round_index=round_index, states=states
        )
        return await collect(
            self.stubs.campaigns.ListProposals,
            request,
            lambda response: response.proposals,
            limit,
        )

    async def claim(
        self, campaign: str, claimant: str, *, count: int = 1, lease_seconds: float | None = None
    ) -> list[pb.Proposal]:
        """Borrows open proposals, best first; one's own come first again, with a new lease.

        Args:
            campaign: The campaign.
            claimant: Who will label.
            count: At most this many.
            lease_seconds: How long the claim holds; None means 30 minutes.

        Returns:
            The proposals lent; none when there is nothing to label, for which ``claim_or_why``
            has the reason.
        """
        answer = await self.claim_or_why(
            campaign, claimant, count=count, lease_seconds=lease_seconds
        )
        return list(answer.proposals)

    async def claim_or_why(
        self, campaign: str, claimant: str, *, count: int = 1, lease_seconds: float | None = None
    ) -> pb.ClaimProposalsResponse:
        """As ``claim``, with what the campaign waits for where there is nothing to label."""
        request = pb.ClaimProposalsRequest(
            parent=self.name(names.CAMPAIGN, campaign), claimant=claimant, count=count
        )
        if lease_seconds is not None:
            lease = Duration()
            lease.FromTimedelta(timedelta(seconds=lease_seconds))
            request.lease.CopyFrom(lease)
        return await self.stubs.campaigns.ClaimProposals(request, timeout=QUICK_SECONDS)

    async def release(self, proposal: str, claimant: str) -> pb.Proposal:
        """Gives a claimed proposal back (``campaign/n`` or its full name)."""
        return await self._return(proposal, claimant, skip=False)

    async def skip(self, proposal: str, claimant: str) -> pb.Proposal:
        """Passes a claimed proposal over for good (``campaign/n`` or its full name)."""
        return await self._return(proposal, claimant, skip=True)

    async def _return(self, proposal: str, claimant: str, *, skip: bool) -> pb.Proposal:
        request = pb.ReturnProposalRequest(
            name=self.name(names.PROPOSAL, proposal), claimant=claimant, skip=skip
        )
        answer = await self.stubs.campaigns.ReturnProposal(request, timeout=QUICK_SECONDS)
        return answer.proposal


def total_cost(rounds: Iterable[pb.Round]) -> pb.Cost:
    """What labelling rounds took in all."""
    total = pb.Cost()
    for each in rounds:
        total.patches += each.cost.patches
        total.labelled_voxels += each.cost.labelled_voxels
        total.strokes += each.cost.strokes
        total.seconds += each.cost.seconds
    return total
