"""The composition root of the gateway."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from biosegment.client.connection import Connection
from biosegment.client.stubs import AsyncStubs
from biosegment.gateway import problems, rest, status


def make_app(connection: Connection) -> FastAPI:
    """The gateway as an ASGI application.

    Args:
        connection: The services behind it, and the token that it asks for.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncStubs(connection) as stubs:
            app.state.stubs = stubs
            yield

    # No pages for people: those of FastAPI would load scripts from elsewhere.
    app = FastAPI(
        title="BioSegment",
        version=version("biosegment"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.connection = connection
    app.state.checks = status.Checks(connection)
    problems.install(app)
    app.include_router(status.router)
    app.include_router(rest.router)
    return app
