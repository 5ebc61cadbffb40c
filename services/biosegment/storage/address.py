"""From what a person writes (a folder, s3://bucket/prefix) to the spec of the store's base."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# "Safe characters": https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
_PREFIX_PART = re.compile(r"[A-Za-z0-9!_*'()-][A-Za-z0-9!_.*'()-]*")
# About ten seconds of trying in all, so that a call still answers within its half minute.
RETRIES = {"max_retries": 5, "initial_delay": "250ms", "max_delay": "4s"}
PROBE_RETRIES = {"max_retries": 2, "initial_delay": "250ms", "max_delay": "1s"}
"""For those who can do without: they should notice soon."""
# Servers that are not Amazon's take any region.
_ANY_REGION = "us-east-1"


def base_spec(store: str, endpoint: str, region: str) -> dict[str, Any]:
    """Tensorstore kvstore spec of the base of a store; its path ends in "/".

    Credentials never become part of it: ``runtime.stores.context``.

    Args:
        store: A folder, ``file:///folder``, or ``s3://bucket/prefix``.
        endpoint: http:// or https:// address of an S3-compatible server; empty for Amazon's, or
            what the standard variables of the environment say.
        region: Empty for what those say.

    Raises:
        InvalidArgumentError: The address makes no sense.
        FailedPreconditionError: The folder cannot be made.
    """
    scheme, separator, rest = store.partition("://")
    if not separator:
        return folder_spec(Path(store).expanduser())
    if scheme == "file" and rest.startswith("/"):
        return folder_spec(Path(rest))
    if scheme != "s3":
        raise InvalidArgumentError(
            f'"{scheme}://…" is no place for a store: give a folder, or s3://bucket/prefix.'
        )
    return _s3_spec(rest, endpoint, region, os.environ)


def folder_spec(folder: Path) -> dict[str, Any]:
    """Kvstore spec of a folder, which is made if need be.

    Raises:
        FailedPreconditionError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FailedPreconditionError(
            f"{folder} cannot be the store: {error.strerror or error}."
        ) from None
    return {"driver": "file", "path": f"{folder.resolve()}/"}


def _s3_spec(
    rest: str, endpoint: str, region: str, environment: Mapping[str, str]
) -> dict[str, Any]:
    bucket, _, prefix = rest.partition("/")
    parts = [part for part in prefix.split("/") if part]
    if "@" in rest:
        raise InvalidArgumentError(
            "The address of a store holds no credentials: set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or keep them in ~/.aws/credentials."
        )
    if not _BUCKET.fullmatch(bucket) or not all(_PREFIX_PART.fullmatch(part) for part in parts):
        raise InvalidArgumentError(
            f'"s3://{rest[:200]}" is not like s3://bucket/prefix: a bucket has 3 to 63 lower-case '
            "letters, digits, dots and hyphens; a prefix has letters, digits and !_.*'()-, and no "
            'part that begins with ".".'
        )
    endpoint = endpoint or environment.get("AWS_ENDPOINT_URL_S3", "")
    endpoint = endpoint or environment.get("AWS_ENDPOINT_URL", "")
    region = region or environment.get("AWS_REGION", "")
    region = region or environment.get("AWS_DEFAULT_REGION", "")
    spec: dict[str, Any] = {
        "driver": "s3",
        "bucket": bucket,
        "path": "".join(f"{part}/" for part in parts),
        "s3_request_retries": RETRIES,
    }
    if endpoint:
        spec["endpoint"] = _checked(endpoint)
        region = region or _ANY_REGION
    if region:
        spec["aws_region"] = region
    return spec


def _checked(endpoint: str) -> str:
    """The endpoint, without a "/" at its end.

    Raises:
        InvalidArgumentError: It is no address of a server, or holds credentials.
    """
    parts = urlsplit(endpoint)
    whole = parts.scheme in ("http", "https") and parts.hostname and not (parts.query)
    if not whole or "@" in parts.netloc:
        raise InvalidArgumentError(
            "The endpoint of the store must be like http://host:9000 or https://host, without "
            "user name and password; look at BIOSEGMENT_STORE_ENDPOINT and AWS_ENDPOINT_URL."
        )
    return endpoint.rstrip("/")
