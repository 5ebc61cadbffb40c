"""Which campaign is stepped when: on events, on request, and every few seconds anyway."""

import asyncio
from weakref import WeakValueDictionary

from biosegment.acquisition import record
from biosegment.acquisition.driver import Driver, Outcome, is_final
from biosegment.client.errors import AbortedError, DomainError
from biosegment.client.names import command
from biosegment.client.stubs import AsyncStubs
from biosegment.runtime import log
from biosegment.v1 import campaigns_pb2 as pb

_log = log.get(__name__)
_STEPS = 12
_AT_ONCE = 8
_HELD = {
    pb.CAMPAIGN_STATE_PAUSED: "is paused",
    pb.CAMPAIGN_STATE_FINISHED: "is finished",
    pb.CAMPAIGN_STATE_FAILED: "has failed",
}


class Conductor:
    """Steps campaigns, each by one caller at a time."""

    def __init__(self, stubs: AsyncStubs, sweep_seconds: float) -> None:
        self._stubs = stubs
        self._driver = Driver(stubs)
        self._sweep_seconds = sweep_seconds
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        # A set, so that a burst of events costs one look.
        self._due: set[str] = set()
        self._woken = asyncio.Event()

    def kick(self, campaign: str) -> None:
        """Has a campaign looked at soon."""
        self._due.add(campaign)
        self._woken.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Looks at the campaigns that are due, and at all active ones every few seconds.

        The sweep makes up for events that were lost.
        """
        clock = asyncio.get_running_loop().time
        next_sweep = clock()
        while not stopping.is_set():
            if clock() >= next_sweep:
                await self._sweep()
                next_sweep = clock() + self._sweep_seconds
            self._woken.clear()
            names, self._due = sorted(self._due), set()
            gate = asyncio.Semaphore(_AT_ONCE)
            await asyncio.gather(*(self._look(name, gate) for name in names))
            await _first(self._woken, stopping, max(0.0, next_sweep - clock()))

    async def _sweep(self) -> None:
        try:
            self._due.update(await record.active_campaigns(self._stubs))
        except DomainError as error:
            _log.warning("sweep.failed", error=error.message)

    async def _look(self, name: str, gate: asyncio.Semaphore) -> None:
        async with gate:
            try:
                await self.advance(name)
            except DomainError as error:
                # Left to the next sweep.
                _log.warning("campaign.postponed", campaign=name, error=error.message)

    async def advance(self, name: str, *, asked: bool = False, close_round: bool = False) -> str:
        """Takes the steps of a campaign that are due, one after the other.

        Args:
            name: The campaign.
            asked: A person asks, so that a new round may be opened in any case.
            close_round: Start training on what is answered.

        Returns:
            What was done, or what is waited for, in a sentence or two.

        Raises:
            NotFoundError: There is no such campaign.
            DomainError: A service is away. (If one refuses, the campaign is set FAILED.)
        """
        lock = self._locks.setdefault(name, asyncio.Lock())
        async with lock:
            said: list[str] = []
            for _ in range(_STEPS):
                outcome = await self._step(name, asked, close_round)
                if outcome.moved:
                    said.append(outcome.message)
                    _log.info("campaign.stepped", campaign=name, what=outcome.message)
                    # One request opens one round and closes one.
                    asked = close_round = False
                    continue
                return " ".join(said) if said else outcome.message
            return " ".join(said)

    async def _step(self, name: str, asked: bool, close_round: bool) -> Outcome:
        campaign = await record.campaign_of(self._stubs, name)
        if campaign.state != pb.CAMPAIGN_STATE_ACTIVE:
            return _held(campaign)
        try:
            return await self._driver.step(
                campaign, open_round=asked or campaign.automatic, close_round=close_round
            )
        except AbortedError:
            return Outcome(True, "Somebody else was faster.")
        except DomainError as error:
            if not is_final(error):
                raise
            # What a person paused or ended meanwhile may refuse a step, and has not failed.
            campaign = await record.campaign_of(self._stubs, name)
            if campaign.state != pb.CAMPAIGN_STATE_ACTIVE:
                return _held(campaign)
            return await self._driver.fail(name, error.message)


def _held(campaign: pb.Campaign) -> Outcome:
    reason = f" ({campaign.state_reason})" if campaign.state_reason else ""
    said = f"The campaign {_HELD.get(campaign.state, 'is not active')}.{reason}"
    if campaign.state in (pb.CAMPAIGN_STATE_PAUSED, pb.CAMPAIGN_STATE_FAILED):
        said += f" Let it go on with: {command('campaign resume', campaign.name)}"
    return Outcome(False, said)


async def _first(a: asyncio.Event, b: asyncio.Event, timeout: float) -> None:
    waits = [asyncio.ensure_future(a.wait()), asyncio.ensure_future(b.wait())]
    try:
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
