"""Tensorstore as the platform uses it: waits have deadlines, and errors are one sentence."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import tensorstore as ts

from biosegment.client.errors import (
    DomainError,
    FailedPreconditionError,
    NotFoundError,
    ResourceExhaustedError,
    StoreError,
    UnavailableError,
)

# Without these a server that takes a request and never answers is waited for without end.
os.environ.setdefault("TENSORSTORE_CURL_CONNECT_TIMEOUT_SECONDS", "5")
os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS", "15")
os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES", "1")

# What a server answered may quote the access key and the signed request.
_ANNOTATION = re.compile(r"\s*\[[\w-]+='(?:[^'\\]|\\.)*'?\]?")
_STATUS = re.compile(r"\[http_response_code='(\d+)'\]")
_TEXT = 300
_PASSING = {"ABORTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "CANCELLED"}
_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def context(cache_bytes: int = 0) -> ts.Context:
    """What every open store of this process shares: its credentials, and limits of requests.

    Credentials are never part of a spec. Each process finds its own: in the environment
    (AWS_ACCESS_KEY_ID, …), in ~/.aws, or from the machine that it runs on.

    Args:
        cache_bytes: Of a cache of chunks for what is opened with this answer; it ends with that.
    """
    if not cache_bytes:
        return shared_context()
    return ts.Context({"cache_pool": {"total_bytes_limit": cache_bytes}}, parent=shared_context())


@cache
def shared_context() -> ts.Context:
    """The context of this process, without a cache."""
    # The chain of all three complains of each file that is not there.
    kind = "environment" if "AWS_ACCESS_KEY_ID" in os.environ else "default"
    return ts.Context({"aws_credentials": {"type": kind}})


def where_of(spec: dict[str, Any]) -> str:
    """The place of a kvstore spec, for people: ``s3://bucket/path`` or ``file:///path``."""
    if spec["driver"] == "file":
        return f"file://{spec['path']}"
    return f"{spec['driver']}://{spec.get('bucket', '')}/{spec['path']}"


@contextmanager
def reaching(where: str, doing: str) -> Iterator[None]:
    """Turns what tensorstore says of a store into the platform's errors.

    Args:
        where: The place, for people.
        doing: What is tried there: "reading", "writing".

    Raises:
        FailedPreconditionError: The store refuses: no such bucket, credentials that are missing,
            wrong or may not do this.
        NotFoundError: What was to be opened is not there.
        ResourceExhaustedError: The store is full.
        UnavailableError: The store could not be reached, or went on failing.
        StoreError: Anything else, such as voxels that are damaged.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        raise _known(error, where, doing) from None


def plain(error: Exception) -> str:
    """What tensorstore says, without what the server answered word for word."""
    status = _STATUS.search(str(error))
    text = _ANNOTATION.sub("", str(error)).strip().rstrip(".")[:_TEXT]
    return f"{text}, HTTP status {status[1]}" if status else text


def _known(error: Exception, where: str, doing: str) -> DomainError:
    code, _, said = plain(error).partition(": ")
    if "NoSuchBucket" in said:
        return FailedPreconditionError(f"{where} cannot be used: there is no such bucket.")
    if "Failed to get credentials" in said:
        return FailedPreconditionError(f"There are no credentials for {where}: set {_KEYS}.")
    if code == "PERMISSION_DENIED":
        return FailedPreconditionError(_denied(said, where, doing))
    if code == "RESOURCE_EXHAUSTED":
        return ResourceExhaustedError(f"{where} is full: {said}.")
    if code == "NOT_FOUND":
        return NotFoundError(f"{where} is not there: {said}.")
    if code in _PASSING:
        return UnavailableError(f"{where} cannot be reached: {said}.")
    return StoreError(f"{where} failed at {doing}: {said or plain(error)}.")


def _denied(said: str, where: str, doing: str) -> str:
    if not where.startswith("s3:"):
        return f"{where} refuses {doing}: {said}."
    if "InvalidAccessKeyId" in said:
        return f"{where} does not know the access key: check AWS_ACCESS_KEY_ID."
    if "SignatureDoesNotMatch" in said:
        return f"{where} refuses the secret of the access key: check AWS_SECRET_ACCESS_KEY."
    profile = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"))
    if "AWS_ACCESS_KEY_ID" not in os.environ and not profile.expanduser().exists():
        return f"{where} refuses access, and there are no credentials for it: set {_KEYS}."
    return f"{where} refuses {doing} with these credentials ({said})."
