"""CampaignService: campaigns, rounds and proposals."""

from typing import Any

from biosegment.registry.campaigns import campaigns, proposals, rounds
from biosegment.registry.campaigns.waiting import waiting
from biosegment.registry.catalog.projects import parent_project
from biosegment.registry.database import Database
from biosegment.registry.requests import once
from biosegment.v1 import campaigns_pb2 as pb
from biosegment.v1 import campaigns_pb2_grpc


class CampaignServicer(campaigns_pb2_grpc.CampaignServiceServicer):
    """Proto in, proto out; each call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def CreateCampaign(
        self, request: pb.CreateCampaignRequest, context: Any
    ) -> pb.CreateCampaignResponse:
        """Records a campaign."""
        async with self._database.write() as session:

            async def make() -> pb.CreateCampaignResponse:
                made = await campaigns.create_campaign(session, request.campaign)
                return pb.CreateCampaignResponse(campaign=made)

            return await once(
                session, "CreateCampaign", request.request_id, pb.CreateCampaignResponse, make
            )

    async def GetCampaign(
        self, request: pb.GetCampaignRequest, context: Any
    ) -> pb.GetCampaignResponse:
        """One campaign."""
        async with self._database.read() as session:
            row = await campaigns.require_campaign(session, request.name)
            campaign = campaigns.to_proto(row)
            campaign.waiting.CopyFrom(await waiting(session, row))
            return pb.GetCampaignResponse(campaign=campaign)

    async def ListCampaigns(
        self, request: pb.ListCampaignsRequest, context: Any
    ) -> pb.ListCampaignsResponse:
        """The campaigns of a project, or of all, by name."""
        async with self._database.read() as session:
            project = await parent_project(session, request.parent)
            found, token = await campaigns.list_campaigns(
                session, project, request.states, request.page_size, request.page_token
            )
            return pb.ListCampaignsResponse(campaigns=found, next_page_token=token)

    async def SetCampaignState(
        self, request: pb.SetCampaignStateRequest, context: Any
    ) -> pb.SetCampaignStateResponse:
        """Pauses, resumes or ends a campaign."""
        async with self._database.write() as session:
            campaign, cancelled = await campaigns.set_campaign_state(
                session, request.name, request.state, request.reason, keep_jobs=request.keep_jobs
            )
            return pb.SetCampaignStateResponse(campaign=campaign, cancelled_jobs=cancelled)

    async def CreateRound(
        self, request: pb.CreateRoundRequest, context: Any
    ) -> pb.CreateRoundResponse:
        """Opens the next round."""
        async with self._database.write() as session:
            made = await rounds.create_round(
                session, request.parent, request.index, request.base_version
            )
            return pb.CreateRoundResponse(round=made)

    async def MoveRound(self, request: pb.MoveRoundRequest, context: Any) -> pb.MoveRoundResponse:
        """Moves a round on."""
        async with self._database.write() as session:
            return pb.MoveRoundResponse(round=await rounds.move_round(session, request))

    async def GetRound(self, request: pb.GetRoundRequest, context: Any) -> pb.GetRoundResponse:
        """One round."""
        async with self._database.read() as session:
            row = await rounds.require_round(session, request.name)
            return pb.GetRoundResponse(round=await rounds.to_proto(session, row))

    async def ListRounds(
        self, request: pb.ListRoundsRequest, context: Any
    ) -> pb.ListRoundsResponse:
        """The rounds of a campaign, first to last."""
        async with self._database.read() as session:
            await campaigns.require_campaign(session, request.parent)
            found, token = await rounds.list_rounds(
                session, request.parent, request.page_size, request.page_token
            )
            return pb.ListRoundsResponse(rounds=found, next_page_token=token)

    async def ListProposals(
        self, request: pb.ListProposalsRequest, context: Any
    ) -> pb.ListProposalsResponse:
        """The proposals of a campaign, by round, best first."""
        async with self._database.read() as session:
            await campaigns.require_campaign(session, request.parent)
            found, token = await proposals.list_proposals(session, request)
            return pb.ListProposalsResponse(proposals=found, next_page_token=token)

    async def ClaimProposals(
        self, request: pb.ClaimProposalsRequest, context: Any
    ) -> pb.ClaimProposalsResponse:
        """Lends open proposals to one claimant."""
        async with self._database.write() as session:
            lent = await proposals.claim_proposals(session, request)
            why = None
            if not lent:
                row = await campaigns.require_campaign(session, request.parent)
                why = await waiting(session, row)
            return pb.ClaimProposalsResponse(proposals=lent, waiting=why)

    async def ReturnProposal(
        self, request: pb.ReturnProposalRequest, context: Any
    ) -> pb.ReturnProposalResponse:
        """Gives a claimed proposal back, or passes it over for good."""
        async with self._database.write() as session:
            row = await proposals.return_proposal(
                session, request.name, request.claimant, skip=request.skip
            )
            return pb.ReturnProposalResponse(proposal=row)
