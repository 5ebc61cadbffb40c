"""Several processes race for the proposals of a round, over gRPC; some let their claims lapse."""

import asyncio
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from google.protobuf.duration_pb2 import Duration

from biosegment.client.arrays import pack_mask
from biosegment.client.connection import Connection
from biosegment.client.errors import FailedPreconditionError
from biosegment.client.geometry import Box
from biosegment.client.stubs import SyncStubs
from biosegment.v1 import annotations_pb2, types_pb2
from biosegment.v1 import campaigns_pb2 as pb
from tests.registry.record_kit import CAMPAIGN, DATASET, Record

COUNT = 12
DEADLINE = 60.0


@dataclass
class Went:
    """What came of one person's work."""

    claimed: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def diligent(connection: Connection, who: str) -> Went:
    """Claims and answers until everything is answered."""
    went, end = Went(), time.monotonic() + DEADLINE
    with SyncStubs(connection) as stubs:
        while time.monotonic() < end:
            for proposal in claim(stubs, who, 2, Duration(seconds=600)):
                went.claimed.append(proposal.name)
                answer(stubs, proposal, who, went)
            if not unanswered(stubs):
                return went
    raise TimeoutError(who)


def sleepy(connection: Connection, who: str) -> Went:
    """Claims for a moment, and answers after others have."""
    went, end = Went(), time.monotonic() + DEADLINE
    with SyncStubs(connection) as stubs:
        held = claim(stubs, who, 1, Duration(nanos=1_000_000))
        went.claimed = [proposal.name for proposal in held]
        while {proposal.name for proposal in held} & unanswered(stubs):
            if time.monotonic() > end:
                raise TimeoutError(who)
        for proposal in held:
            answer(stubs, proposal, who, went)
    return went


def claim(stubs: SyncStubs, who: str, count: int, lease: Duration) -> list[pb.Proposal]:
    request = pb.ClaimProposalsRequest(parent=CAMPAIGN, claimant=who, count=count, lease=lease)
    return list(stubs.campaigns.ClaimProposals(request).proposals)


def answer(stubs: SyncStubs, proposal: pb.Proposal, who: str, went: Went) -> None:
    annotation = annotations_pb2.Annotation(
        box=proposal.box,
        mask=pack_mask(np.ones(Box.from_proto(proposal.box).shape, np.uint8)),
        compression=types_pb2.COMPRESSION_ZLIB,
        proposal=proposal.name,
    )
    request = annotations_pb2.CommitAnnotationRequest(
        parent=DATASET, annotation=annotation, claimant=who
    )
    try:
        stubs.annotations.CommitAnnotation(request)
    except FailedPreconditionError:
        went.refused.append(proposal.name)
    else:
        went.answered.append(proposal.name)


def unanswered(stubs: SyncStubs) -> set[str]:
    request = pb.ListProposalsRequest(parent=CAMPAIGN, page_size=1000)
    found = stubs.campaigns.ListProposals(request).proposals
    return {each.name for each in found if each.state != pb.PROPOSAL_STATE_DONE}


async def test_nobody_gets_the_patch_of_another(
    record: Record, eventually: Callable[..., Awaitable[None]]
) -> None:
    await record.start_campaign()
    await record.open_round()
    await record.propose(count=COUNT)
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as people:
        slept = loop.run_in_executor(people, sleepy, record.connection, "sleepy")

        async def lent() -> bool:
            return bool((await record.claimants())[1])

        # The sleepy one comes first, and the first proposal is his.
        await eventually(lent)
        names = [f"diligent-{n}" for n in range(3)]
        worked = [loop.run_in_executor(people, diligent, record.connection, name) for name in names]
        went = await asyncio.gather(*worked)
        late = await slept
    answered = [name for each in went for name in each.answered]
    assert sorted(answered) == sorted(proposal.name for proposal in await record.proposals())
    assert (await record.dataset()).revision == COUNT
    claimed = [name for each in went for name in each.claimed]
    assert len(claimed) == len(set(claimed)) == COUNT
    assert not any(each.refused for each in went)
    assert late.claimed == late.refused == [f"{CAMPAIGN}/proposals/1"]
    owners = {name: who for who, each in zip(names, went, strict=True) for name in each.answered}
    assert {p.name: p.claimant for p in await record.proposals()} == owners
