"""A store that cannot take what it is given."""

from pathlib import Path

import pytest

from biosegment.client.errors import StoreError
from biosegment.storage.store import Store


async def test_a_key_that_cannot_be_written_is_an_error_that_passes(tmp_path: Path) -> None:
    store = Store.of_folder(tmp_path)
    await store.write("p/taken", b"x")
    with pytest.raises(StoreError, match=r"failed at writing: .*p/taken") as caught:
        await store.write("p/taken/below", b"y")
    assert caught.value.retryable
    assert await store.read("p/taken") == b"x"
