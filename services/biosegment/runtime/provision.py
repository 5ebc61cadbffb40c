"""Makes the streams and consumers, and corrects ones that drifted. Idempotent.

Run it before the services: ``python -m biosegment.runtime.provision``.
"""

from biosegment.runtime import lean_nats  # noqa: F401

# isort: split
import asyncio
import os
import sys

import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from biosegment.runtime.bus import Bus

JOBS, EVENTS, DEAD = "JOBS", "EVENTS", "DEAD"
KINDS = ("import", "export", "rank", "train", "segment", "evaluate", "search", "instances")
BLOCK_KINDS = ("segment", "instances")
ACK_WAIT_SECONDS = 30.0
_DAY = 86_400.0


def job_subject(kind: str) -> str:
    """Where wake-ups for jobs of a kind go."""
    return f"biosegment.jobs.{kind}"


def block_subject(kind: str) -> str:
    """Where wake-ups for blocks of a kind go."""
    return f"biosegment.blocks.{kind}"


def streams() -> list[StreamConfig]:
    """The streams of the platform."""
    return [
        StreamConfig(
            name=JOBS,
            subjects=["biosegment.jobs.*", "biosegment.blocks.*"],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,
            max_msgs=200_000,
            max_age=7 * _DAY,
            duplicate_window=120,
        ),
        StreamConfig(
            name=EVENTS,
            subjects=["biosegment.events.>"],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            max_age=7 * _DAY,
            max_bytes=1 << 30,
            duplicate_window=120,
        ),
        StreamConfig(
            name=DEAD,
            subjects=["biosegment.dead.>"],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            max_age=90 * _DAY,
            max_bytes=256 << 20,
        ),
    ]


def consumers() -> list[tuple[str, ConsumerConfig]]:
    """The durable pull consumers: (stream, config)."""

    def pull(durable: str, subject: str) -> ConsumerConfig:
        return ConsumerConfig(
            durable_name=durable,
            filter_subject=subject,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_SECONDS,
            max_ack_pending=10_000,
            # The record counts tries. A limit here would leave messages stuck in the stream.
            max_deliver=-1,
        )

    return [
        *((JOBS, pull(f"jobs-{kind}", job_subject(kind))) for kind in KINDS),
        *((JOBS, pull(f"blocks-{kind}", block_subject(kind))) for kind in BLOCK_KINDS),
        (EVENTS, pull("storage", "biosegment.events.annotation.committed")),
        (EVENTS, pull("ingest", "biosegment.events.job.ended")),
        (EVENTS, pull("acquisition", "biosegment.events.>")),
    ]


async def provision(js: JetStreamContext) -> None:
    """Creates or updates everything."""
    for stream in streams():
        try:
            await js.add_stream(stream)
        except nats.js.errors.BadRequestError:
            await js.update_stream(stream)
    for name, consumer in consumers():
        await js.add_consumer(name, consumer)


async def _main() -> None:
    bus = Bus(os.environ.get("BIOSEGMENT_NATS_URL", "nats://127.0.0.1:4222"))
    await bus.connect()
    await provision(bus.js)
    await bus.close()


if __name__ == "__main__":
    from biosegment.client.errors import DomainError

    try:
        asyncio.run(_main())
    except DomainError as error:
        sys.stderr.write(f"provision: {error.message}\n")
        raise SystemExit(1) from None
