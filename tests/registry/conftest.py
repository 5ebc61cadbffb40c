"""Fixtures of the registry's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.registry.record_kit import Record, open_record


@pytest.fixture
async def empty_record(tmp_path: Path) -> AsyncIterator[Record]:
    """A record with nothing in it."""
    async with open_record(tmp_path) as record:
        yield record


@pytest.fixture
async def record(empty_record: Record) -> Record:
    """A record with a project, three classes, a data set of 4 × 32 × 32 voxels and a model."""
    await empty_record.seed()
    return empty_record
