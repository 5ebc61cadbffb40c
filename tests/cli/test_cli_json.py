"""--json: on either side of the verb, in the gateway's shape, for errors too."""

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest
from click.testing import Result as ClickResult
from tests.client.sdk_platform import InMemoryPlatform
from typer.testing import CliRunner

from biosegment.cli.app import app
from biosegment.cli.root import hoisted
from biosegment.gateway.app import make_app

Run = Callable[..., ClickResult]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--json", "dataset", "list"],
        ["dataset", "--json", "list"],
        ["dataset", "list", "--json"],
        ["--json", "dataset", "list", "--json"],
    ],
)
def test_json_may_stand_on_either_side(run: Run, arguments: list[str]) -> None:
    answer = run(*arguments)
    assert answer.exit_code == 0, answer.stderr
    assert json.loads(answer.stdout)[0]["name"] == "projects/default/datasets/liver"


def test_so_may_the_project_and_the_connection(run: Run, platform: InMemoryPlatform) -> None:
    assert "projects/default/datasets/liver" in run("dataset", "list", "--project", "p").stdout
    assert "projects/default/datasets/liver" in run("dataset", "list", "--project=p").stdout
    gone = CliRunner().invoke(app, ["dataset", "list", "--connection", "/none/c.json"])
    assert (gone.exit_code, "/none/c.json" in gone.stderr) == (1, True)
    asked = CliRunner().invoke(app, ["dataset", "list", "--connection"])
    assert (asked.exit_code, "--connection" in asked.stderr) == (2, True)


def test_what_follows_two_dashes_stays_where_it_is() -> None:
    assert hoisted(["a", "--json", "--project", "p", "b"]) == ["--json", "--project", "p", "a", "b"]
    after = ["a", "--", "--json", "--project", "p"]
    assert hoisted(after) == after
    assert hoisted(["a", "--project=p"]) == ["--project=p", "a"]


@pytest.mark.parametrize(
    ("arguments", "status", "code", "word"),
    [
        (["dataset", "show", "kidney"], 1, "NOT_FOUND", "kidney"),
        (["dataset", "show", "Liver"], 1, "INVALID_ARGUMENT", "capitals"),
        (["dataset", "show"], 2, "INVALID_ARGUMENT", "dataset"),
        (["dataset", "shw", "liver"], 2, "INVALID_ARGUMENT", "show"),
        (["dataset", "list", "--jsn"], 2, "INVALID_ARGUMENT", "--json"),
        (["segment", "m/1", "liver", "--box", "all"], 2, "INVALID_ARGUMENT", "is not a box"),
    ],
)
def test_an_error_is_json_on_stdout_and_a_sentence_on_stderr(
    run: Run, arguments: list[str], status: int, code: str, word: str
) -> None:
    answer = run(*arguments, "--json")
    assert answer.exit_code == status
    error = json.loads(answer.stdout)["error"]
    assert set(error) == {"code", "reason", "message", "metadata"}
    assert error["code"] == code
    assert word in error["message"]
    assert answer.stderr.startswith("Error: ")
    plain = run(*arguments)
    assert (plain.exit_code, plain.stdout) == (status, "")


def test_the_gateway_answers_in_the_same_shape(run: Run, platform: InMemoryPlatform) -> None:
    async def get(*paths: str) -> list[object]:
        served = make_app(platform.connection)
        headers = {"Authorization": f"Bearer {platform.connection.token}"}
        async with (
            served.router.lifespan_context(served),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(served), base_url="http://g", headers=headers
            ) as client,
        ):
            return [(await client.get(f"/api/v1/projects/default/{path}")).json() for path in paths]

    dataset, missing, job = asyncio.run(get("datasets/liver", "datasets/kidney", "jobs/j"))
    assert json.loads(run("dataset", "show", "liver", "--json").stdout) == dataset
    assert json.loads(run("dataset", "show", "kidney", "--json").stdout) == missing
    assert json.loads(run("job", "show", "j", "--json").stdout) == job
