"""What every group of verbs stands on: the stubs, names, pages."""

import inspect
import typing
import uuid
from collections.abc import Awaitable, Callable, Iterable
from functools import cached_property, wraps
from typing import Any, TypeVar

from biosegment.client import names
from biosegment.client.connection import Connection
from biosegment.client.given import UNSENDABLE, unsendable
from biosegment.client.stubs import AsyncStubs
from biosegment.v1 import registry_pb2

_T = TypeVar("_T")
_Response = TypeVar("_Response")

MANY = 1_000_000
"""More than there are of anything that is listed whole."""
QUICK_SECONDS = 30.0
"""Deadline of calls that only touch the record."""
START_SECONDS = 120.0
"""Deadline of Start calls, which check files, volumes and models first."""
ARRAY_SECONDS = 600.0
"""Deadline of calls that carry an array or compute one."""


def request_id() -> str:
    """A fresh UUID4: one per call, so that gRPC's own retries of the call do no harm."""
    return str(uuid.uuid4())


class Verbs:
    """Where the platform is, and which project short names belong to."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Makes every verb say which of its arguments no request can hold."""
        super().__init_subclass__(**kwargs)
        for name, verb in list(vars(cls).items()):
            if not name.startswith("_") and inspect.iscoroutinefunction(verb):
                setattr(cls, name, _explaining(verb))

    def __init__(self, connection: Connection | None = None, *, project: str = "default") -> None:
        """Makes a client; nothing is sent yet.

        Args:
            connection: Where the platform is; by default the connection file of
                `biosegment up`, see ``Connection.load``.
            project: The project that short names belong to.

        Raises:
            NotFoundError: There is no connection file.
            InvalidArgumentError: The connection file or the project's name is damaged.
        """
        self.connection = connection or Connection.load()
        self.project = names.check_id(project, "project")

    @cached_property
    def stubs(self) -> AsyncStubs:
        """The generated stubs, for calls that have no verb. Belongs to the running event loop."""
        return AsyncStubs(self.connection)

    @property
    def parent(self) -> str:
        """The resource name of the project."""
        return names.PROJECT.format(self.project)

    def name(self, pattern: str, value: str) -> str:
        """The full name for a short or full one.

        Args:
            pattern: One of the patterns of ``biosegment.client.names``.
            value: A full name (``projects/p/models/m/versions/3``), or its ids after the
                project joined by "/" (``m/3``).

        Raises:
            InvalidArgumentError: The value does not fit the pattern.
        """
        return names.expand(pattern, value, self.project)

    async def _any_volume_name(self, value: str) -> str:
        """The full name of a volume, which may also be named as a segmentation.

        Args:
            value: A volume (``liver-raw`` or a full name), or a segmentation (``liver/mito-1`` or
                a full name), which stands for its volume.

        Raises:
            InvalidArgumentError: The value names neither.
            NotFoundError: There is no such segmentation.
        """
        if not is_segmentation(value):
            return self.name(names.VOLUME, value)
        name = self.name(names.SEGMENTATION, value)
        project, dataset, _ = names.parse(names.SEGMENTATION, name)
        request = registry_pb2.ListSegmentationsRequest(
            parent=names.DATASET.format(project, dataset)
        )
        found = await collect(
            self.stubs.registry.ListSegmentations,
            request,
            lambda response: response.segmentations,
            MANY,
        )
        for each in found:
            if each.name == name:
                return str(each.volume)
        raise names.not_found(names.SEGMENTATION, name, [each.name for each in found])


def is_segmentation(value: str) -> bool:
    """Whether a short or full name is that of a segmentation, and not of a volume."""
    full = value.startswith("projects/")
    return "/segmentations/" in value if full else value.count("/") == 1


def _explaining(verb: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(verb)
    async def call(*args: Any, **kwargs: Any) -> Any:
        work = verb(*args, **kwargs)
        try:
            return await work
        except UNSENDABLE as error:
            given = inspect.signature(verb).bind(*args, **kwargs).arguments
            given.pop("self", None)
            wrong = unsendable(error, given, typing.get_type_hints(verb))
            if wrong is None:
                raise
            # With its cause, so that the command line can name its own option instead.
            raise wrong from error

    return call


async def collect(
    call: Callable[..., Awaitable[_Response]],
    request: Any,
    items: Callable[[_Response], Iterable[_T]],
    limit: int,
) -> list[_T]:
    """Follows the pages of a List call.

    Args:
        call: The stub's method.
        request: The first request; its page fields are overwritten.
        items: Takes the items from a response.
        limit: At most this many items.
    """
    found: list[_T] = []
    while len(found) < limit:
        request.page_size = min(limit - len(found), 1000)
        response = await call(request, timeout=QUICK_SECONDS)
        found.extend(items(response))
        request.page_token = getattr(response, "next_page_token", "")
        if not request.page_token:
            break
    return found[:limit]
