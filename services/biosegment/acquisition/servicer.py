"""AcquisitionService: what to label next."""

from typing import Any

from biosegment.acquisition import record, start
from biosegment.acquisition.conductor import Conductor
from biosegment.acquisition.defaults import as_struct
from biosegment.acquisition.strategies.table import strategies
from biosegment.client.stubs import AsyncStubs
from biosegment.v1 import acquisition_pb2 as pb
from biosegment.v1 import acquisition_pb2_grpc, campaigns_pb2


class AcquisitionServicer(acquisition_pb2_grpc.AcquisitionServiceServicer):
    """Proto in and out."""

    def __init__(self, stubs: AsyncStubs, conductor: Conductor) -> None:
        self._stubs = stubs
        self._conductor = conductor

    async def ListStrategies(
        self,
        request: pb.ListStrategiesRequest,
        context: Any,
    ) -> pb.ListStrategiesResponse:
        """The acquisition functions on offer, by name."""
        return pb.ListStrategiesResponse(
            strategies=[
                pb.StrategyDescription(
                    name=name,
                    description=strategy.description,
                    parameters=as_struct(strategy.parameters_type().values()),
                )
                for name, strategy in sorted(strategies().items())
            ]
        )

    async def StartCampaign(
        self,
        request: pb.StartCampaignRequest,
        context: Any,
    ) -> pb.StartCampaignResponse:
        """Checks and records a campaign; an automatic one begins at once."""
        campaign = await start.check(self._stubs, request.campaign)
        if request.validate_only:
            return pb.StartCampaignResponse(campaign=campaign)
        answer = await self._stubs.campaigns.CreateCampaign(
            campaigns_pb2.CreateCampaignRequest(request_id=request.request_id, campaign=campaign)
        )
        self._conductor.kick(answer.campaign.name)
        # The answer to a repeated start is the first one, as old as the campaign.
        started = await record.campaign_of(self._stubs, answer.campaign.name)
        return pb.StartCampaignResponse(campaign=started)

    async def AdvanceCampaign(
        self,
        request: pb.AdvanceCampaignRequest,
        context: Any,
    ) -> pb.AdvanceCampaignResponse:
        """Does what is due; opens the next round of a campaign that is not automatic."""
        message = await self._conductor.advance(
            request.name, asked=True, close_round=request.close_round
        )
        rounds = await record.rounds_of(self._stubs, request.name)
        return pb.AdvanceCampaignResponse(
            campaign=await record.campaign_of(self._stubs, request.name),
            round=rounds[-1] if rounds else None,
            message=message,
        )
