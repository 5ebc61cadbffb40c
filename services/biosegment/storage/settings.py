"""Settings of the storage service."""

import uuid

from pydantic import Field

from biosegment.runtime.settings import ServiceSettings


class StorageSettings(ServiceSettings):
    """Where the arrays lie."""

    store: str = Field(
        min_length=1,
        description="What holds every volume and object: a folder, or s3://bucket/prefix. "
        "Credentials are found as everywhere: AWS_ACCESS_KEY_ID and so on, ~/.aws, the machine's",
    )
    store_endpoint: str = Field(
        default="",
        description="Address of an S3-compatible server, http://host:9000; empty for "
        "AWS_ENDPOINT_URL, or else Amazon's",
    )
    store_region: str = Field(
        default="", description="Region of the bucket; empty for AWS_REGION, or else found out"
    )
    store_session: str = Field(
        default_factory=lambda: str(uuid.uuid4()),
        description="Random name of this start of the platform, kept by both it and the store",
    )
    store_sessions: str = Field(
        default="*",
        description='Names of earlier starts of this platform, joined by ","; a store that was '
        'used by others since is refused. "*" takes any',
    )
    sweep_seconds: float = Field(
        default=60.0, gt=0, description="How often label volumes are compared with the log"
    )
