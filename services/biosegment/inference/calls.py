"""How servicer and workers reach the child."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from biosegment.client.errors import ResourceExhaustedError
from biosegment.inference.forwards import Forwards
from biosegment.runtime.child import Child

_PACKAGE = "biosegment.inference.child"
_MOST_WAITING = 64


class Calls:
    """The child with what each of its tasks needs to know.

    Attributes:
        forwards: How networks are run.
    """

    def __init__(self, child: Child, connection: Path, forwards: Forwards) -> None:
        self._child = child
        self._connection = str(connection)
        self.forwards = forwards
        self._urgent: set[asyncio.Task[Any]] = set()

    async def work(
        self,
        target: str,
        *,
        on_report: Callable[[Any], None],
        cancelled: asyncio.Event,
        **kwargs: Any,
    ) -> Any:
        """Runs a task of a job, once nothing urgent waits; ``target`` is "module:function"."""
        return await self._child.run(
            f"{_PACKAGE}.{target}",
            on_report=on_report,
            cancelled=cancelled,
            connection=self._connection,
            **kwargs,
        )

    async def now(self, target: str, **kwargs: Any) -> Any:
        """Runs a task that a person waits for, before any of a job.

        When the caller goes away the task is asked to stop; the child lives on with its models.

        Raises:
            ResourceExhaustedError: Too many such calls wait already.
        """
        if len(self._urgent) >= _MOST_WAITING:
            raise ResourceExhaustedError(
                f"{_MOST_WAITING} predictions are waiting already; ask again in a moment."
            )
        stop = asyncio.Event()
        task = asyncio.create_task(
            self._child.run(
                f"{_PACKAGE}.{target}",
                cancelled=stop,
                urgent=True,
                connection=self._connection,
                forwards=self.forwards,
                **kwargs,
            )
        )
        self._urgent.add(task)
        task.add_done_callback(self._ended)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            stop.set()
            raise

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._urgent.discard(task)
        if not task.cancelled():
            # Marks the error as seen, for callers that have gone.
            task.exception()
