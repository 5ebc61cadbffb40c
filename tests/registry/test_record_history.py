"""Random commits and undos against a numpy model of what people mean by them."""

import asyncio
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biosegment.client.arrays import NOT_LABELLED
from biosegment.client.errors import FailedPreconditionError
from biosegment.client.geometry import Box
from biosegment.registry.annotations.undo import void_commits
from tests.registry.record_kit import SHAPE, open_record, paint_model

# Each commit is synced, which memory does at once.
_FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None

starts = st.tuples(st.integers(0, 1), st.integers(0, 8), st.integers(0, 8))
extents = st.tuples(st.integers(1, 3), st.integers(1, 8), st.integers(1, 8))
commits = st.tuples(st.just("commit"), starts, extents, st.integers(0, 2**31))
undos = st.tuples(st.just("undo"), st.integers(0, 30))


@given(st.lists(st.one_of(commits, undos), min_size=1, max_size=14))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_log_reads_as_the_commits_that_stand(steps: list) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list) -> None:
    # By revision: what a commit painted, and what an undo undid.
    painted: dict[int, tuple[Box, np.ndarray]] = {}
    undone_by: dict[int, int] = {}

    def stands(revision: int) -> bool:
        return not any(u == revision and stands(by) for by, u in undone_by.items())

    with tempfile.TemporaryDirectory(dir=_FOLDER) as folder:
        async with open_record(Path(folder)) as record:
            await record.seed()
            newest = 0
            for step in steps:
                if step[0] == "commit":
                    _, start, extent, seed = step
                    values = np.array([0, 1, 2, 254, 255], np.uint8)
                    mask = np.random.default_rng(seed).choice(values, extent)
                    newest = (await record.commit(mask, start)).revision
                    painted[newest] = (Box.at(start, extent), mask)
                elif newest:
                    target = step[1] % newest + 1
                    stood = stands(target)
                    try:
                        newest = (await record.undo(target)).revision
                    except FailedPreconditionError:
                        assert not stood
                    else:
                        assert stood
                        undone_by[newest] = target
                model = np.full(SHAPE, NOT_LABELLED, np.uint8)
                for revision, (box, mask) in painted.items():
                    if stands(revision):
                        paint_model(model, mask, box)
                assert np.array_equal(await record.view(), model)


@given(st.data())
def test_void_commits_follow_their_definition(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 12))
    undone_by = {
        revision: data.draw(st.integers(1, revision - 1))
        for revision in range(2, count + 1)
        if data.draw(st.booleans())
    }

    def stands(revision: int) -> bool:
        return not any(u == revision and stands(by) for by, u in undone_by.items())

    expected = {revision for revision in range(1, count + 1) if not stands(revision)}
    assert void_commits(undone_by) == expected
