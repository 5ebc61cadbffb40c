"""Events that may make a step of a campaign due."""

from collections.abc import Callable

from biosegment.acquisition.conductor import Conductor
from biosegment.acquisition.record import campaign_name
from biosegment.runtime.bus import Message
from biosegment.runtime.events import subject_of
from biosegment.v1 import events_pb2 as pb

_CAMPAIGN_OF: dict[str, Callable[[bytes], str]] = {
    subject_of(pb.AnnotationCommitted()): lambda data: (
        pb.AnnotationCommitted.FromString(data).campaign
    ),
    subject_of(pb.JobEnded()): lambda data: pb.JobEnded.FromString(data).campaign,
    subject_of(pb.CampaignChanged()): lambda data: pb.CampaignChanged.FromString(data).campaign,
    subject_of(pb.RoundProposed()): lambda data: campaign_name(
        pb.RoundProposed.FromString(data).round
    ),
}


class Listener:
    """Handles the events of the platform: has the campaign concerned looked at."""

    def __init__(self, conductor: Conductor) -> None:
        self._conductor = conductor

    async def handle(self, message: Message) -> None:
        """Takes one event; most concern no campaign."""
        campaign_of = _CAMPAIGN_OF.get(message.subject)
        campaign = campaign_of(message.data) if campaign_of else ""
        if campaign:
            self._conductor.kick(campaign)
