"""A database that takes nothing more."""

from pathlib import Path

import pytest
from sqlalchemy import text

from biosegment.client.errors import UnavailableError
from tests.registry.jobs_kit import job_kit


async def test_a_full_disk_is_an_error_that_passes(tmp_path: Path) -> None:
    async with job_kit(tmp_path) as kit:
        job = await kit.create()

        async def grow() -> None:
            # SQLite answers as on a full disk: no more pages than there are.
            grown = text("update job set spec = zeroblob(1000000) where name = :name")
            async with kit.database.write() as session:
                await session.execute(text("PRAGMA max_page_count = 1"))
                await session.execute(grown, {"name": job.name})

        with pytest.raises(UnavailableError, match="full") as caught:
            await grow()
        assert caught.value.retryable
        async with kit.database.write() as session:
            await session.execute(text("PRAGMA max_page_count = 1000000"))
        assert (await kit.get(job)).export_spec == job.export_spec
        assert await kit.create()
