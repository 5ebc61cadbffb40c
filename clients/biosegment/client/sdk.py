"""The async SDK: every verb of the platform on one object."""

from types import TracebackType

from biosegment.client.health import Health, check_all
from biosegment.client.verbs.annotations import AnnotationVerbs
from biosegment.client.verbs.campaigns import CampaignVerbs
from biosegment.client.verbs.compute import ComputeVerbs
from biosegment.client.verbs.instances import InstanceVerbs
from biosegment.client.verbs.jobs import JobVerbs
from biosegment.client.verbs.record import RecordVerbs
from biosegment.client.verbs.searches import SearchVerbs
from biosegment.client.verbs.volumes import VolumeVerbs


class AsyncClient(
    RecordVerbs,
    VolumeVerbs,
    AnnotationVerbs,
    CampaignVerbs,
    ComputeVerbs,
    SearchVerbs,
    InstanceVerbs,
    JobVerbs,
):
    """BioSegment from async code.

    Names may be short (``liver``, ``unet/3``) and then belong to the client's project, or full
    resource names (``projects/p/datasets/liver``). Every call has a deadline, carries a request
    id where it makes something, and raises a subclass of DomainError when it fails.

    Use it with ``async with``, in one event loop.
    """

    async def health(self) -> dict[str, Health]:
        """How each service answers, by its name, where the connection file has it now."""
        self.connection = self.connection.fresh()
        return await check_all(self.connection)

    async def close(self) -> None:
        """Closes every channel."""
        if "stubs" in self.__dict__:
            await self.stubs.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
