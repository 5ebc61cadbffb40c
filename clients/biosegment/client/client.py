"""The blocking SDK: the verbs of AsyncClient for scripts, notebooks and the CLI."""

import functools
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from biosegment.client.connection import Connection
from biosegment.client.errors import DomainError
from biosegment.client.loop import SHARED
from biosegment.client.sdk import AsyncClient
from biosegment.client.verbs.jobs import outcome
from biosegment.v1 import jobs_pb2

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _blocking(
    verb: Callable[Concatenate[AsyncClient, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate["Client", _P], _T]:
    """The same verb, with its signature and documentation, for code without an event loop."""

    def call(self: "Client", /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return SHARED.run(verb(self.asynchronous, *args, **kwargs))

    functools.update_wrapper(call, verb)
    return call


class Client:
    """BioSegment from a script, a notebook or a shell.

    Names may be short (``liver``, ``unet/3``) and then belong to the client's project, or full
    resource names (``projects/p/datasets/liver``). Every call has a deadline, carries a request
    id where it makes something, and raises a subclass of DomainError when it fails. Safe to
    use from several threads. Use it with ``with``.

    Attributes:
        asynchronous: The AsyncClient that does the work, on a background event loop.
    """

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
        self.asynchronous = AsyncClient(connection, project=project)

    @property
    def connection(self) -> Connection:
        """Where the platform is."""
        return self.asynchronous.connection

    @property
    def project(self) -> str:
        """The project that short names belong to."""
        return self.asynchronous.project

    create_project = _blocking(AsyncClient.create_project)
    projects = _blocking(AsyncClient.projects)
    dataset = _blocking(AsyncClient.dataset)
    datasets = _blocking(AsyncClient.datasets)
    put_label_class = _blocking(AsyncClient.put_label_class)
    label_classes = _blocking(AsyncClient.label_classes)
    create_model = _blocking(AsyncClient.create_model)
    model = _blocking(AsyncClient.model)
    models = _blocking(AsyncClient.models)
    version = _blocking(AsyncClient.version)
    versions = _blocking(AsyncClient.versions)
    segmentations = _blocking(AsyncClient.segmentations)

    import_volume = _blocking(AsyncClient.import_volume)
    import_labels = _blocking(AsyncClient.import_labels)
    export = _blocking(AsyncClient.export)
    volume = _blocking(AsyncClient.volume)
    volumes = _blocking(AsyncClient.volumes)
    delete_volume = _blocking(AsyncClient.delete_volume)
    read = _blocking(AsyncClient.read)

    as_mask = _blocking(AsyncClient.as_mask)
    commit = _blocking(AsyncClient.commit)
    undo = _blocking(AsyncClient.undo)
    annotations = _blocking(AsyncClient.annotations)

    strategies = _blocking(AsyncClient.strategies)
    start_campaign = _blocking(AsyncClient.start_campaign)
    advance = _blocking(AsyncClient.advance)
    campaign = _blocking(AsyncClient.campaign)
    campaigns = _blocking(AsyncClient.campaigns)
    set_campaign_state = _blocking(AsyncClient.set_campaign_state)
    stop_campaign = _blocking(AsyncClient.stop_campaign)
    rounds = _blocking(AsyncClient.rounds)
    cost = _blocking(AsyncClient.cost)
    proposals = _blocking(AsyncClient.proposals)
    claim = _blocking(AsyncClient.claim)
    claim_or_why = _blocking(AsyncClient.claim_or_why)
    release = _blocking(AsyncClient.release)
    skip = _blocking(AsyncClient.skip)

    architectures = _blocking(AsyncClient.architectures)
    architecture = _blocking(AsyncClient.architecture)
    device = _blocking(AsyncClient.device)
    train = _blocking(AsyncClient.train)
    search = _blocking(AsyncClient.search)
    search_result = _blocking(AsyncClient.search_result)
    training_logs = _blocking(AsyncClient.training_logs)
    predict = _blocking(AsyncClient.predict)
    segment = _blocking(AsyncClient.segment)
    evaluate = _blocking(AsyncClient.evaluate)

    instances = _blocking(AsyncClient.instances)
    instance_table = _blocking(AsyncClient.instance_table)

    job = _blocking(AsyncClient.job)
    jobs = _blocking(AsyncClient.jobs)
    finish = _blocking(AsyncClient.finish)
    pause = _blocking(AsyncClient.pause)
    resume = _blocking(AsyncClient.resume)
    cancel = _blocking(AsyncClient.cancel)
    retry = _blocking(AsyncClient.retry)

    health = _blocking(AsyncClient.health)
    close = _blocking(AsyncClient.close)

    def watch(
        self,
        job: str | jobs_pb2.Job,
        *,
        timeout: float | None = None,
        patience: float = 120.0,
        on_away: Callable[[DomainError], None] | None = None,
    ) -> Iterator[jobs_pb2.Job]:
        """Yields the job at once and then after each change; see ``AsyncClient.watch``."""
        for seen in self.follow(job, timeout=timeout, patience=patience):
            if isinstance(seen, jobs_pb2.Job):
                yield seen
            elif on_away is not None:
                on_away(seen)

    def follow(
        self, job: str | jobs_pb2.Job, *, timeout: float | None = None, patience: float = 120.0
    ) -> Iterator[jobs_pb2.Job | DomainError]:
        """As ``watch``, and yields an error each time that the registry goes away."""
        changes = self.asynchronous.follow(job, timeout=timeout, patience=patience)

        async def following() -> jobs_pb2.Job | DomainError | None:
            return await anext(changes, None)

        try:
            while (seen := SHARED.run(following())) is not None:
                yield seen
        except GeneratorExit:
            SHARED.run(changes.aclose())  # type: ignore[attr-defined]
            raise

    def wait(
        self,
        job: str | jobs_pb2.Job,
        on_progress: Callable[[jobs_pb2.Job], None] | None = None,
        *,
        timeout: float | None = None,
        on_away: Callable[[DomainError], None] | None = None,
    ) -> jobs_pb2.Job:
        """Waits until a job has ended; see ``AsyncClient.wait``.

        ``on_progress`` and ``on_away`` are called on the calling thread and may use this client.
        """
        last = jobs_pb2.Job()
        for last in self.watch(job, timeout=timeout, on_away=on_away):
            if on_progress is not None:
                on_progress(last)
        return outcome(last)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
