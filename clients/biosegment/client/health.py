"""Whether the services are up, by the standard gRPC health protocol. Needs no token."""

import asyncio
from typing import Literal, cast

from grpc_health.v1 import health_pb2, health_pb2_grpc

from biosegment.client.channel import _AsyncChannel, _SyncChannel
from biosegment.client.connection import SERVICES, Connection
from biosegment.client.errors import DomainError

Health = Literal["serving", "not serving", "unreachable"]


def _word(status: int) -> Health:
    return "serving" if status == health_pb2.HealthCheckResponse.SERVING else "not serving"


def check(connection: Connection, service: str, timeout: float = 2.0) -> Health:
    """How one service answers within the timeout in seconds."""
    channel = _SyncChannel(connection, service)
    try:
        stub = health_pb2_grpc.HealthStub(channel)
        return _word(stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout).status)
    except DomainError:
        return "unreachable"
    finally:
        channel.close()


async def check_async(connection: Connection, service: str, timeout: float = 2.0) -> Health:
    """How one service answers within the timeout in seconds."""
    channel = _AsyncChannel(connection, service)
    try:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        return _word(cast("int", answer.status))
    except DomainError:
        return "unreachable"
    finally:
        await channel.close()


async def check_all(connection: Connection, timeout: float = 2.0) -> dict[str, Health]:
    """How each service answers within the timeout in seconds, by its name."""
    answers = await asyncio.gather(
        *(check_async(connection, service, timeout) for service in SERVICES)
    )
    return dict(zip(SERVICES, answers, strict=True))
