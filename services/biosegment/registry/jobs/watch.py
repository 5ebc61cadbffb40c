"""Waiting for the record to change."""

import asyncio

# Another registry process may have made the change; then only looking again tells.
_LOOK_SECONDS = 1.0
# A burst of commits (heartbeats of many workers) costs a watcher one look, not one each.
_PAUSE_SECONDS = 0.1


async def wait_for_change(changed: asyncio.Event) -> None:
    """Returns soon after the event is set, or when it is time to look anyway."""
    try:
        await asyncio.wait_for(changed.wait(), _LOOK_SECONDS)
    except TimeoutError:
        return
    await asyncio.sleep(_PAUSE_SECONDS)
