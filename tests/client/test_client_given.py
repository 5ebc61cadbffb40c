"""What no request can hold, and what no terminal may obey: one sentence, and plain text."""

import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.client.sdk_platform import InMemoryPlatform

from biosegment.client import AsyncClient, Box, Client
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.terminal import CONTROL, printable


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    platform = InMemoryPlatform()
    await platform.start()
    async with AsyncClient(platform.connection) as made:
        yield made
    await platform.stop()


CAMPAIGN = {"dataset": "liver", "model": "unet"}


@pytest.mark.parametrize(
    ("verb", "arguments", "place"),
    [
        ("import_volume", {"path": "x", "dataset": "d", "metadata": {"dose": math.nan}}, "dose"),
        ("import_volume", {"path": "x", "dataset": "d", "metadata": {"dose": 3}}, "metadata dose"),
        ("import_volume", {"path": "x", "dataset": "d", "display_name": 3}, "display_name"),
        ("import_volume", {"path": "x", "dataset": "d", "display_name": "\udcff"}, "display_name"),
        ("start_campaign", {"campaign": "c", **CAMPAIGN, "initial_patches": 10**11}, "initial"),
        ("start_campaign", {"campaign": "c", **CAMPAIGN, "budget_patches": 10**30}, "budget"),
        ("start_campaign", {"campaign": "c", **CAMPAIGN, "seed": -(10**30)}, "seed"),
        ("start_campaign", {"campaign": "c", **CAMPAIGN, "patch": (1, 2**70, 1)}, "patch"),
        (
            "start_campaign",
            {"campaign": "c", **CAMPAIGN, "strategy_parameters": {"a": 10**400}},
            "strategy_parameters a",
        ),
        ("claim", {"campaign": "c", "claimant": "me", "lease_seconds": 1e300}, "lease_seconds"),
        ("claim", {"campaign": "c", "claimant": "me", "lease_seconds": math.nan}, "lease_seconds"),
        ("claim", {"campaign": "c", "claimant": "me", "count": 10**10}, "count"),
        ("read", {"source": "liver", "box": Box((0, 0, 0), (1, 1, 2**64))}, "box stop"),
    ],
)
async def test_an_argument_that_cannot_be_sent_is_named(
    client: AsyncClient, verb: str, arguments: dict[str, Any], place: str
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await getattr(client, verb)(**arguments)
    assert place in caught.value.metadata["field"]
    assert place in caught.value.message
    assert len(caught.value.message.splitlines()) == 1


async def test_errors_of_our_own_are_not_taken_for_arguments(client: AsyncClient) -> None:
    with pytest.raises(TypeError, match="dataset"):
        await client.import_volume("x")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected"):
        await client.claim("c", "me", counts=1)  # type: ignore[call-arg]


def test_verbs_keep_their_signatures() -> None:
    import inspect

    for cls in (AsyncClient, Client):
        assert "voxel_size" in inspect.signature(cls.import_volume).parameters
        assert (cls.import_volume.__doc__ or "").startswith("Starts the import")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe", "größe"),
        ("\x1b[31m", "\\x1b[31m"),
        ('eve\n{"event": 1}', 'eve\\n{"event": 1}'),
        ("a\rb\x07", "a\\rb\\x07"),
        ("\x9b2J", "\\x9b2J"),
        ("a\u202eb\u2029", "a\\u202eb\\u2029"),
    ],
)
def test_a_terminal_shows_and_does_not_obey(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert CONTROL.search(printable(text)) is None


def test_messages_keep_their_lines() -> None:
    assert printable("a\n\tb\x1b[2J", lines=True) == "a\n\tb\\x1b[2J"


async def test_what_a_service_says_is_printable(tmp_path: Path) -> None:
    from biosegment.client.connection import Connection
    from biosegment.client.stubs import AsyncStubs
    from biosegment.runtime.server import Server
    from biosegment.v1 import registry_pb2, registry_pb2_grpc

    class Rude(registry_pb2_grpc.RegistryServiceServicer):
        async def GetProject(self, request: Any, context: Any) -> Any:
            raise InvalidArgumentError("No \x1b[31mred\x1b[0m.\nNext.")

    server = Server("127.0.0.1:0", "t")
    server.add(registry_pb2_grpc.add_RegistryServiceServicer_to_server, Rude(), "r")
    await server.start()
    async with AsyncStubs(
        Connection(token="t", addresses={"*": f"127.0.0.1:{server.port}"})
    ) as stubs:
        with pytest.raises(InvalidArgumentError) as caught:
            await stubs.registry.GetProject(registry_pb2.GetProjectRequest())
    await server.stop(0)
    assert caught.value.message == "No \\x1b[31mred\\x1b[0m.\nNext."
