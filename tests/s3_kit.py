"""A real S3-compatible server (moto's, in a process of its own) that checks keys and rights."""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

REGION = "us-east-1"
PAGE_KEYS = 50
"""In one page of a listing: few, so that paging is met with few keys."""
# Requests that the server takes without a key: those that make the first user.
_UNCHECKED = 3
_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Keys:
    """An access key and its secret."""

    key: str
    secret: str

    @property
    def environment(self) -> dict[str, str]:
        """As every S3 client takes them."""
        return {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret}


class S3:
    """The server, empty.

    Attributes:
        port: On 127.0.0.1.
        owner: Keys of somebody who may do everything.
        reader: Keys of somebody who may only read and list.
    """

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(
            command,
            env={
                **os.environ,
                "INITIAL_NO_AUTH_ACTION_COUNT": str(_UNCHECKED),
                "MOTO_S3_DEFAULT_MAX_KEYS": str(PAGE_KEYS),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._wait()
            self.owner = self._user("owner", Keys("any", "any"), ["s3:*", "iam:*"])
            self.reader = self._user("reader", self.owner, ["s3:Get*", "s3:List*"])
        except BaseException:
            self.stop()
            raise

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def bucket(self, name: str) -> str:
        """Makes a bucket; its name."""
        self.client("s3").create_bucket(Bucket=name)
        return name

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Every key in a bucket that begins with a prefix."""
        pages = self.client("s3").get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=bucket, Prefix=prefix)
        return [each["Key"] for page in found for each in page.get("Contents", [])]

    def get(self, bucket: str, key: str) -> bytes:
        """The bytes of an object."""
        body: bytes = self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def client(self, service: str, keys: Keys | None = None) -> Any:
        """A client of somebody else's making, to look from outside."""
        import boto3

        used = keys or self.owner
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=used.key,
            aws_secret_access_key=used.secret,
        )

    def stop(self) -> None:
        """Ends the server; what it held is gone."""
        self._process.kill()
        self._process.wait(10)

    def _user(self, name: str, maker: Keys, actions: list[str]) -> Keys:
        iam = self.client("iam", maker)
        iam.create_user(UserName=name)
        made = iam.create_access_key(UserName=name)["AccessKey"]
        statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=name, PolicyName="rights", PolicyDocument=policy)
        return Keys(made["AccessKeyId"], made["SecretAccessKey"])

    def _wait(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert self._process.poll() is None, "the S3 server ended"
                time.sleep(0.05)
            else:
                return
        raise TimeoutError("the S3 server did not start")
