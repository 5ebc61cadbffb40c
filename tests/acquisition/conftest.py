"""Fixtures of the acquisition tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.acquisition.acquisition_kit import Kit, open_kit


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Kit]:
    """The acquisition service over a record with a data set of 4 × 128 × 128 and a model."""
    async with open_kit(tmp_path) as made:
        yield made
