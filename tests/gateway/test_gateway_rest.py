"""The REST protocol in front of servicers behind a real server."""

from collections.abc import AsyncIterator

import httpx
import pytest
from structlog.testing import capture_logs
from tests.client.sdk_platform import DATASET, JOB, InMemoryPlatform

from biosegment.client.connection import Connection
from biosegment.client.errors import ERRORS
from biosegment.gateway.app import make_app
from biosegment.gateway.problems import HTTP_STATUS


@pytest.fixture
async def platform() -> AsyncIterator[InMemoryPlatform]:
    made = InMemoryPlatform()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def http(platform: InMemoryPlatform) -> AsyncIterator[httpx.AsyncClient]:
    app = make_app(platform.connection)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {platform.connection.token}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport, base_url="http://gateway", headers=headers
        ) as client,
    ):
        yield client


def is_problem(answer: httpx.Response, status: int, reason: str) -> bool:
    assert set(answer.json()) == {"error"}
    body = answer.json()["error"]
    assert answer.headers["content-type"] == "application/json"
    assert set(body) == {"code", "reason", "message", "metadata"}
    return answer.status_code == status and body["reason"] == reason


async def test_the_record_is_read_as_json(http: httpx.AsyncClient) -> None:
    dataset = (await http.get("/api/v1/projects/default/datasets/liver")).json()
    assert dataset["name"] == DATASET.name
    assert dataset["shape"] == {"z": 4, "y": 6, "x": 8}
    assert dataset["revision"] == 0
    datasets = (await http.get("/api/v1/projects/default/datasets")).json()
    assert [each["name"] for each in datasets["datasets"]] == [DATASET.name]
    assert (await http.get("/api/v1/projects/default/jobs")).json()["jobs"][0]["name"] == JOB
    job = (await http.get("/api/v1/projects/default/jobs/j")).json()
    assert job["state"] == "JOB_STATE_QUEUED"


async def test_pages_go_through(http: httpx.AsyncClient) -> None:
    names: list[str] = []
    token = ""
    for _ in range(10):
        parameters = {"page_size": 7, "page_token": token}
        page = (await http.get("/api/v1/projects", params=parameters)).json()
        assert len(page["projects"]) <= 7
        names += [project["name"] for project in page["projects"]]
        token = page["next_page_token"]
        if not token:
            break
    assert names == [f"projects/p{n:02}" for n in range(25)]


PATHS = [
    "/api/v1/projects",
    "/api/v1/projects/default/datasets",
    "/api/v1/projects/default/datasets/liver",
    "/api/v1/projects/default/jobs",
    "/api/v1/projects/default/jobs/j",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "authorization", ["", "Bearer ", "Bearer wrong", "Basic dDp0", "t", "Bearer t\u00e9"]
)
async def test_nothing_is_read_without_the_token(
    platform: InMemoryPlatform, http: httpx.AsyncClient, path: str, authorization: str
) -> None:
    headers = {"Authorization": authorization.encode("latin-1")}
    answer = await http.get(path, headers=headers)
    assert is_problem(answer, 401, "UNAUTHENTICATED")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert platform.seen.requests == []


async def test_every_path_of_the_protocol_is_guarded(http: httpx.AsyncClient) -> None:
    described = (await http.get("/openapi.json")).json()["paths"]
    public = {path for path, verbs in described.items() if "security" not in verbs["get"]}
    assert public == {"/health", "/version"}
    assert len(described) == len(PATHS) + len(public)


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/api/v1/projects/default/datasets/kidney", 404, "NOT_FOUND"),
        ("/api/v1/projects/default/datasets/..%2Fx", 404, "NOT_FOUND"),
        ("/api/v1/projects?page_size=-1", 400, "INVALID_ARGUMENT"),
        ("/api/v1/projects?page_size=1001", 400, "INVALID_ARGUMENT"),
        ("/api/v1/projects?page_size=many", 400, "INVALID_ARGUMENT"),
        (f"/api/v1/projects?page_token={'x' * 3000}", 400, "INVALID_ARGUMENT"),
        ("/nothing/here", 404, "NOT_FOUND"),
    ],
)
async def test_what_is_wrong_is_a_problem_in_one_shape(
    http: httpx.AsyncClient, path: str, status: int, reason: str
) -> None:
    assert is_problem(await http.get(path), status, reason)


async def test_writing_is_refused(http: httpx.AsyncClient) -> None:
    assert is_problem(await http.post("/api/v1/projects"), 405, "UNIMPLEMENTED")


async def test_a_defect_of_a_service_keeps_its_details(http: httpx.AsyncClient) -> None:
    # The page token is no number: the servicer of this test does not expect that.
    answer = await http.get("/api/v1/projects?page_token=letters")
    assert is_problem(answer, 500, "INTERNAL")
    assert "invalid literal" not in answer.text
    assert answer.json()["error"]["metadata"]["incident"] in answer.json()["error"]["message"]


async def test_a_defect_of_the_gateway_keeps_its_details(
    platform: InMemoryPlatform,
) -> None:
    app = make_app(platform.connection)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {platform.connection.token}"}
    # Without its lifespan the application has no stubs.
    with capture_logs() as lines:
        async with httpx.AsyncClient(
            transport=transport, base_url="http://gateway", headers=headers
        ) as client:
            answer = await client.get("/api/v1/projects")
    assert is_problem(answer, 500, "INTERNAL")
    assert "stubs" not in answer.text
    (line,) = [line for line in lines if line["event"] == "request.failed"]
    assert line["incident"] == answer.json()["error"]["metadata"]["incident"]


async def test_health_and_version_are_public(
    platform: InMemoryPlatform, http: httpx.AsyncClient
) -> None:
    del http.headers["Authorization"]
    healthy = await http.get("/health")
    assert healthy.status_code == 200
    assert healthy.json()["status"] == "serving"
    assert set(healthy.json()["services"]) >= {"registry", "storage", "inference"}
    assert (await http.get("/version")).json()["version"]


async def test_health_names_the_service_that_is_away(platform: InMemoryPlatform) -> None:
    addresses = {**platform.connection.addresses, "training": "127.0.0.1:1"}
    app = make_app(Connection(token="t", addresses=addresses))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://gateway"
    ) as client:
        answer = await client.get("/health")
    assert answer.status_code == 503
    assert answer.json()["status"] == "degraded"
    assert answer.json()["services"]["training"] == "unreachable"
    assert answer.json()["services"]["registry"] == "serving"


def test_every_error_has_a_status() -> None:
    assert {error.code for error in ERRORS.values()} <= set(HTTP_STATUS)


async def test_other_sites_may_not_read(http: httpx.AsyncClient) -> None:
    answer = await http.get("/version", headers={"Origin": "https://elsewhere.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
