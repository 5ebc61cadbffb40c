"""A store is of one platform at a time, and knows whose it was last."""

import asyncio
import json
from pathlib import Path

import pytest

from biosegment.client.errors import FailedPreconditionError
from biosegment.storage import address, hold
from biosegment.storage.hold import Hold
from biosegment.storage.store import Store
from tests.s3_kit import REGION, S3


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.of_folder(tmp_path / "store")


async def test_two_never_hold_one_folder(store):
    first = Hold(store, "a")
    await first.take()
    with pytest.raises(FailedPreconditionError, match=r"in use by another platform \(process \d+"):
        await Hold(store, "b").take()
    # Another object for the same folder, and the platform's own other process, are others too.
    with pytest.raises(FailedPreconditionError, match="in use"):
        await Hold(Store(store.spec("")), "a").take()
    await first.release()
    await Hold(store, "b").take()


async def test_a_store_that_another_platform_used_since_is_refused(store):
    for session, known in (("a", ""), ("b", "a")):
        each = Hold(store, session, known)
        await each.take()
        await each.release()
    with pytest.raises(FailedPreconditionError, match=r"belongs to another platform.*--take-store"):
        await Hold(store, "copy", "a").take()
    with pytest.raises(FailedPreconditionError, match="belongs to another platform"):
        await Hold(store, "new", "").take()
    # Refused ones changed nothing: the platform itself goes on, with a start that came to no end.
    again = Hold(store, "c", "a,b")
    await again.take()
    await again.release()


async def test_a_service_that_is_restarted_finds_its_own_session(store):
    for _ in range(2):
        each = Hold(store, "a", "")
        await each.take()
        await each.release()


async def test_who_takes_a_store_has_it(store):
    for session, known in (("a", ""), ("b", "*"), ("c", "b")):
        each = Hold(store, session, known)
        await each.take()
        await each.release()


async def test_a_store_that_is_empty_though_it_was_used_is_refused(store):
    with pytest.raises(FailedPreconditionError, match=r"not mounted.*--take-store"):
        await Hold(store, "b", "a").take()
    await Hold(store, "b", "*").take()


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"\xff", b"{}"])
async def test_a_damaged_note_is_another_platforms(store, damage):
    await store.write(".biosegment/session", damage)
    with pytest.raises(FailedPreconditionError, match="belongs to another platform"):
        await Hold(store, "b", "a").take()
    await Hold(store, "b", "*").take()


@pytest.fixture
def bucket(s3: S3, s3_keys, monkeypatch: pytest.MonkeyPatch, request) -> Store:
    monkeypatch.setattr(hold, "BEAT_SECONDS", 0.2)
    if "hold" not in {b["Name"] for b in s3.client("s3").list_buckets()["Buckets"]}:
        s3.bucket("hold")
    place = f"s3://hold/{request.node.name.replace('_', '-')}"
    return Store(address.base_spec(place, s3.endpoint, REGION))


async def test_two_never_hold_one_bucket(bucket):
    first, stopping = Hold(bucket, "a"), asyncio.Event()
    await first.take()
    assert first.beats
    beating = asyncio.create_task(first.keep(stopping))
    with pytest.raises(FailedPreconditionError, match="in use by another platform"):
        await Hold(bucket, "b").take()
    stopping.set()
    await beating
    # Silent without having said that it ended, as after a power cut: listened to, then taken.
    await Hold(bucket, "b", "a").take()


async def test_a_bucket_that_was_let_go_is_taken_at_once(bucket, monkeypatch):
    first = Hold(bucket, "a")
    await first.take()
    await first.release()
    monkeypatch.setattr(hold, "BEAT_SECONDS", 3600.0)
    await Hold(bucket, "b", "a").take()


async def test_who_hung_while_another_took_the_bucket_ends(bucket):
    first = Hold(bucket, "a")
    await first.take()
    await Hold(bucket, "b", "*").take()
    with pytest.raises(FailedPreconditionError, match="was taken by another platform"):
        await first.keep(asyncio.Event())
    await first.release()
    assert json.loads(await bucket.read(".biosegment/session"))["ended"] is False
