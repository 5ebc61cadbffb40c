"""What the storage service says when its store cannot be used."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from biosegment.client.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    UnavailableError,
)
from biosegment.runtime import stores
from biosegment.storage import address, start
from biosegment.storage.store import Store
from tests.s3_kit import REGION, S3, Keys

NOWHERE = "http://127.0.0.1:1"


async def test_a_store_gets_an_identity_and_keeps_it(tmp_path):
    first = await start.probe(Store.of_folder(tmp_path / "a"))
    again = await start.probe(Store.of_folder(tmp_path / "a"))
    other = await start.probe(Store.of_folder(tmp_path / "b"))
    assert first == again
    assert len({first.identity, other.identity, ""}) == 3
    assert json.loads(first.kvstore_spec)["path"] == f"{tmp_path}/a/.biosegment/"


async def refused(s3: S3, monkeypatch, keys: Keys, bucket="start", endpoint=""):
    for name, value in keys.environment.items():
        monkeypatch.setenv(name, value)
    stores.shared_context.cache_clear()
    store = Store(address.base_spec(f"s3://{bucket}/p", endpoint or s3.endpoint, REGION))
    with pytest.raises((FailedPreconditionError, UnavailableError)) as caught:
        await start.probe(store)
    said = caught.value.message
    for secret in (keys.secret, keys.key):
        assert secret not in said
    assert "<" not in said
    assert len(said.splitlines()) == 1
    return said


@pytest.fixture
def s3_bucket(s3: S3, s3_keys) -> S3:
    if "start" not in {b["Name"] for b in s3.client("s3").list_buckets()["Buckets"]}:
        s3.bucket("start")
    return s3


async def test_each_refusal_is_one_sentence(s3_bucket, monkeypatch):
    s3 = s3_bucket
    monkeypatch.setattr(address, "RETRIES", {**address.RETRIES, "max_retries": 1})
    assert await refused(s3, monkeypatch, s3.owner, bucket="other") == (
        "s3://other/p/ cannot be used: there is no such bucket."
    )
    assert await refused(s3, monkeypatch, Keys("AKIAUNKNOWN", s3.owner.secret)) == (
        "s3://start/p/ does not know the access key: check AWS_ACCESS_KEY_ID."
    )
    assert await refused(s3, monkeypatch, Keys(s3.owner.key, "not-the-secret")) == (
        "s3://start/p/ refuses the secret of the access key: check AWS_SECRET_ACCESS_KEY."
    )
    said = await refused(s3, monkeypatch, s3.reader)
    assert said.startswith("s3://start/p/ refuses writing with these credentials (")
    said = await refused(s3, monkeypatch, s3.owner, endpoint=NOWHERE)
    assert said.startswith("s3://start/p/ cannot be reached: ")
    assert "Could not connect" in said


async def test_missing_credentials_are_called_so(s3_bucket, monkeypatch, tmp_path):
    await start.probe(Store(address.base_spec("s3://start/p", s3_bucket.endpoint, REGION)))
    for name in Keys("", "").environment:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    stores.shared_context.cache_clear()
    with pytest.raises(FailedPreconditionError, match="there are no credentials for it: set AWS_"):
        await start.probe(Store(address.base_spec("s3://start/p", s3_bucket.endpoint, REGION)))


@pytest.mark.parametrize(
    ("store", "endpoint", "what"),
    [
        ("gs://bucket/p", "", "is no place for a store"),
        ("s3://", "", "is not like s3://bucket/prefix"),
        ("s3://Bucket", "", "is not like s3://bucket/prefix"),
        ("s3://bucket/a/../b", "", "is not like s3://bucket/prefix"),
        ("s3://bucket/a b", "", "is not like s3://bucket/prefix"),
        ("s3://key:secret@bucket/p", "", "holds no credentials"),
        ("s3://bucket/p", "127.0.0.1:9000", "endpoint of the store must be like"),
        ("s3://bucket/p", "http://key:secret@host", "endpoint of the store must be like"),
    ],
)
def test_an_address_that_makes_no_sense(store, endpoint, what):
    with pytest.raises(InvalidArgumentError, match=what) as caught:
        address.base_spec(store, endpoint, "")
    assert "secret@" not in caught.value.message


def test_addresses_of_folders_and_buckets(tmp_path, monkeypatch):
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    assert address.base_spec(f"{tmp_path}/a", "", "") == {
        "driver": "file",
        "path": f"{tmp_path}/a/",
    }
    assert address.base_spec(f"file://{tmp_path}/b", "", "")["path"] == f"{tmp_path}/b/"
    plain = address.base_spec("s3://bucket", "", "")
    assert (plain["bucket"], plain["path"]) == ("bucket", "")
    assert not {"endpoint", "aws_region"} & set(plain)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://one:9000/")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    given = address.base_spec("s3://bucket//a/b/", "", "")
    assert (given["endpoint"], given["aws_region"]) == ("http://one:9000", "eu-west-1")
    assert given["path"] == "a/b/"
    ours = address.base_spec("s3://bucket", "https://two", "us-west-2")
    assert (ours["endpoint"], ours["aws_region"]) == ("https://two", "us-west-2")
    (tmp_path / "file").touch()
    with pytest.raises(FailedPreconditionError, match="cannot be the store: File exists"):
        address.base_spec(str(tmp_path / "file"), "", "")


def test_the_service_ends_with_the_sentence(tmp_path: Path) -> None:
    connection = tmp_path / "connection.json"
    connection.write_text(json.dumps({"token": "t", "addresses": {"*": "127.0.0.1:1"}}))
    connection.chmod(0o600)
    settings = {
        "BIOSEGMENT_STORE": "gs://bucket",
        "BIOSEGMENT_CONNECTION": str(connection),
    }
    answer = subprocess.run(
        [sys.executable, "-m", "biosegment.storage"],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 2
    assert answer.stderr.splitlines()[-1] == (
        'storage: "gs://…" is no place for a store: give a folder, or s3://bucket/prefix.'
    )
