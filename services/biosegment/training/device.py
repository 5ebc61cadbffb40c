"""The device that training has, and what network suits it."""

import asyncio

from biosegment.client.errors import UnavailableError
from biosegment.runtime import log
from biosegment.runtime.child import Child
from biosegment.v1 import training_pb2 as pb

_log = log.get(__name__)
_TARGET = "biosegment.training.child.device:describe"
# Loading torch takes seconds, on a machine that starts the whole platform some more.
_PATIENCE_SECONDS = 60.0
_AGAIN_SECONDS = 5.0
LARGE, SMALL = "unet2d", "unet2d-quarter"


class DeviceOfChild:
    """What the child has found; asked for once, when the service starts.

    Attributes:
        known: The device; None while the child has not said.
    """

    def __init__(self, known: pb.Device | None = None) -> None:
        self.known = known
        self._found = asyncio.Event()

    async def watch(self, child: Child, stopping: asyncio.Event) -> None:
        """A loop for an App: asks the child before any training can come, which also warms it.

        Loading torch takes seconds, which a person would wait for after the first batch, and again
        after every restart of the service.
        """
        stop = asyncio.create_task(stopping.wait())
        asking = asyncio.create_task(self._ask(child))
        try:
            await asyncio.wait([stop, asking], return_when=asyncio.FIRST_COMPLETED)
            await stop
        finally:
            for task in (stop, asking):
                task.cancel()
            await asyncio.gather(stop, asking, return_exceptions=True)

    async def _ask(self, child: Child) -> None:
        while self.known is None:
            try:
                # Urgent, or it would wait for a training that was taken up after a restart.
                self.known = pb.Device(**await child.run(_TARGET, urgent=True))
                self._found.set()
            except Exception as error:  # noqa: BLE001 - asked again; trainings meet it as well
                _log.warning("device.unknown", error=str(error)[:500])
                await asyncio.sleep(_AGAIN_SECONDS)

    async def get(self) -> pb.Device:
        """The device.

        Raises:
            UnavailableError: The service has just started, and does not know yet.
        """
        if self.known is None:
            try:
                await asyncio.wait_for(self._found.wait(), _PATIENCE_SECONDS)
            except TimeoutError:
                raise UnavailableError(
                    "The training service is still finding out what device it has; try again in "
                    "some seconds."
                ) from None
        assert self.known is not None
        return self.known


def recommended(device: pb.Device | None) -> tuple[str, str]:
    """The architecture for models that name none, and why, in a sentence or two.

    Both are empty while the device is not known.
    """
    if device is None:
        return "", ""
    if device.type != "cpu":
        return LARGE, f"{LARGE} suits the GPU that training has ({device.display_name})."
    return SMALL, (
        f"{SMALL} suits this machine: training has no GPU but {device.display_name}, where {LARGE} "
        f"takes about eight times as long. The larger one: --architecture {LARGE}"
    )
