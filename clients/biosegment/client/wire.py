"""From a gRPC failure to the error class it stands for. Shared by both kinds of channel."""

import json
from collections.abc import Iterable
from typing import Any, cast

import grpc
from google.rpc import error_details_pb2, status_pb2

from biosegment.client.errors import DOMAIN, DomainError, error_of, error_of_code
from biosegment.client.terminal import printable

STATUS_KEY = "grpc-status-details-bin"

MESSAGE_BYTES = 8 << 20
"""Of one request at most."""

CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.enable_retries", 1),
    # Of a request over 256 KiB gRPC keeps nothing to repeat it with, and says nothing of that.
    ("grpc.per_rpc_retry_buffer_size", MESSAGE_BYTES + (1 << 20)),
    # A proxy that the environment names for web pages is not meant for these services.
    ("grpc.enable_http_proxy", 0),
    # A restarted service is found again within a second or two, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    (
        "grpc.service_config",
        # UNAVAILABLE is the one code that is retried by itself (AIP-194); Create and
        # Start carry a request_id, so that a repeat does no harm.
        json.dumps(
            {
                "methodConfig": [
                    {
                        "name": [{}],
                        "retryPolicy": {
                            "maxAttempts": 5,
                            "initialBackoff": "0.1s",
                            "maxBackoff": "2s",
                            "backoffMultiplier": 2.5,
                            "retryableStatusCodes": ["UNAVAILABLE"],
                        },
                    }
                ]
            }
        ),
    ),
]

DEFAULT_TIMEOUT_SECONDS = 30.0
STREAM_TIMEOUT_SECONDS = 3600.0


def domain_error(error: grpc.RpcError, service: str) -> DomainError:
    """The error that a failed call stands for."""
    code = error.code()
    # The stubs of grpc type one entry where it gives all of them.
    trailers = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    for key, value in trailers:
        if key == STATUS_KEY and isinstance(value, bytes):
            status = status_pb2.Status.FromString(value)
            for detail in status.details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info) and info.domain == DOMAIN:
                    message = printable(status.message, lines=True)
                    return error_of(info.reason, message, dict(info.metadata))
    name = code.name if code is not None else "UNKNOWN"
    if name == "UNAVAILABLE":
        message = f"The {service} service cannot be reached ({error.details()})."
    elif name == "DEADLINE_EXCEEDED":
        message = f"The {service} service did not answer in time."
    else:
        message = error.details() or name
    return error_of_code(name, printable(message, lines=True))
