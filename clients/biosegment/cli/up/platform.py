"""The platform on one machine, for `biosegment up`, for the demo and for tests."""

import contextlib
import http.client
import importlib.util
import os
import signal
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from biosegment.cli.up import nats
from biosegment.cli.up.home import Home
from biosegment.cli.up.ports import kept_ports, listening
from biosegment.cli.up.process import LOG_BYTES, Spec
from biosegment.cli.up.supervisor import Supervisor
from biosegment.client.connection import SERVICES, Connection, default_home
from biosegment.client.errors import AlreadyExistsError, FailedPreconditionError, NotFoundError

START_SECONDS = 90.0
_FIRST_PROJECT = "projects/default"
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked for, not bound to
_STAGES = {"registry": 1, "storage": 1, "ingest": 2, "acquisition": 2, "training": 2}
_STAGES |= {"inference": 2, "gateway": 2}
_NEEDED = (
    "nats",
    "sqlalchemy",
    "tensorstore",
    "tifffile",
    "torch",
    "pytorch_lightning",
    "fastapi",
    "cc3d",
    "pyarrow",
)


def _own_roots() -> list[Path]:
    return [Path.cwd(), Path.home()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run the platform.

    Attributes:
        home: Folder of everything it keeps.
        host: Where the gateway listens; the services listen on 127.0.0.1 only.
        gateway_port: 0 means any free one.
        import_roots: Folders that imports may read from.
        export_roots: Folders that exports may write to.
        log_level: debug, info, warning or error.
        log_bytes: Of the log files of each process, at most.
        store: Where the arrays lie, a folder or s3://bucket/prefix; None means where they were the
            last time, else in the home.
        take_store: Whether the arrays are this home's from now on, wherever they were noted and
            whoever used them last.
        store_endpoint: Address of an S3-compatible server; empty means as the environment says.
        store_region: Region of the bucket; empty means as the environment says.
        environment: Further settings of the services, such as BIOSEGMENT_LEASE_SECONDS.
    """

    home: Path = field(default_factory=default_home)
    host: str = "127.0.0.1"
    gateway_port: int = 0
    import_roots: Sequence[Path] = field(default_factory=_own_roots)
    export_roots: Sequence[Path] = field(default_factory=_own_roots)
    log_level: str = "info"
    log_bytes: int = LOG_BYTES
    store: str | None = None
    take_store: bool = False
    store_endpoint: str = ""
    store_region: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


class Platform:
    """A running platform. Use it with ``with``, or call ``start`` and ``stop``.

    Attributes:
        options: How it is run.
        home: Its folder.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.home = Home(self.options.home)
        self._connection: Connection | None = None
        self._store: str | None = None
        self._supervisor: Supervisor | None = None
        self._was_up = False
        self._session = ""

    def start(
        self, timeout: float = START_SECONDS, told: Callable[[str], None] = lambda _text: None
    ) -> None:
        """Starts every process and returns once all are healthy.

        A home that is made here and does not come up is removed again, but for its logs.

        Args:
            timeout: Seconds.
            told: Called with a line on each step, from another thread.

        Raises:
            FailedPreconditionError: A part is not installed, a platform runs on this home, or the
                store cannot be used.
            InvalidArgumentError: The home cannot be made.
            NotFoundError: A folder that files may come from or go to is not there.
            DeadlineError: Something was not healthy within the timeout.
            UnavailableError: A process keeps ending; the message has the end of its log.
        """
        _check_installed()
        server = nats.find_server()
        self.home.lock()
        try:
            take, arrays = self.options.take_store, self.home.arrays
            store = arrays.place(self.options.store, take=take)
            specs = self._specs(server, store, told)
            self._supervisor = Supervisor(
                specs, self.home.logs, log_bytes=self.options.log_bytes, told=told
            )
            self._supervisor.start(timeout)
            arrays.keep_place(store)
            arrays.keep_session(store, self._session)
            self._make_first_project()
            self._was_up = True
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops everything in order: gateway, workers, storage and record, bus."""
        try:
            if self._supervisor is not None:
                self._supervisor.stop()
        finally:
            self._clean_up()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the platform has stopped; whether it has.

        Raises:
            UnavailableError: It stopped because a process keeps ending.
        """
        return self._running.wait(timeout)

    @property
    def connection(self) -> Connection:
        """Token and addresses.

        Raises:
            FailedPreconditionError: The platform does not run.
        """
        if self._connection is None:
            raise FailedPreconditionError("The platform does not run.")
        return self._connection

    @property
    def store(self) -> str:
        """Where the arrays lie, a folder or an address.

        Raises:
            FailedPreconditionError: The platform was not started.
        """
        if self._store is None:
            raise FailedPreconditionError("The platform does not run.")
        return self._store

    @property
    def connection_path(self) -> Path:
        """The connection file."""
        return self.home.connection

    def process(self, name: str) -> int | None:
        """The process id of "nats", a service or "gateway"; None while it is being restarted.

        Raises:
            NotFoundError: There is no process of that name.
        """
        return self._running.process(name).pid

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Sends a signal to a process, which is then restarted at the same address.

        Raises:
            NotFoundError: There is no process of that name.
        """
        self._running.process(name).kill(number)

    def log(self, name: str) -> Path:
        """The log file of a process.

        Raises:
            NotFoundError: There is no process of that name.
        """
        return self._running.process(name).log

    @property
    def _running(self) -> Supervisor:
        if self._supervisor is None:
            raise FailedPreconditionError("The platform does not run.")
        return self._supervisor

    def _make_first_project(self) -> None:
        from biosegment.client.stubs import SyncStubs
        from biosegment.v1 import registry_pb2

        request = registry_pb2.CreateProjectRequest(
            request_id=str(uuid.uuid4()),
            project=registry_pb2.Project(name=_FIRST_PROJECT, display_name="Default"),
        )
        with SyncStubs(self.connection) as stubs, contextlib.suppress(AlreadyExistsError):
            stubs.registry.CreateProject(request)

    def _clean_up(self) -> None:
        self._supervisor = None
        self._connection = None
        if self.home.is_locked:
            self.home.connection.unlink(missing_ok=True)
            if not self._was_up:
                self.home.discard()
        self.home.unlock()

    def _specs(self, server: str, store: str, told: Callable[[str], None]) -> list[Spec]:
        options, home = self.options, self.home
        roots = {
            "BIOSEGMENT_IMPORT_ROOTS": _joined(options.import_roots),
            "BIOSEGMENT_EXPORT_ROOTS": _joined(options.export_roots),
        }
        names = ["nats", *SERVICES, *(() if options.gateway_port else ("gateway",))]
        ports, lost = kept_ports(home.ports, names)
        for name in lost:
            told(f"The port that {name} had is taken; it is at {ports[name]} now.")
        bus_port, gateway_port = ports["nats"], ports.get("gateway", options.gateway_port)
        bus_token = home.secret("bus-token")
        host = f"[{options.host}]" if ":" in options.host else options.host
        connection = Connection(
            token=home.secret("token"),
            addresses={name: f"127.0.0.1:{ports[name]}" for name in SERVICES},
            gateway_url=f"http://{_reachable(options.host)}:{gateway_port}",
        )
        if listening(options.host, gateway_port):
            raise FailedPreconditionError(
                f"Port {gateway_port} of {options.host} is taken; choose another with "
                "--gateway-port (0 means any free one)."
            )
        home.prepare_record()
        self._store = store
        self._session, known = home.arrays.begin_session(store, take=options.take_store)
        connection.save(home.connection)
        self._connection = connection
        config = nats.write_config(home.nats, bus_port, bus_token)
        environment = {
            "BIOSEGMENT_NATS_URL": f"nats://{bus_token}@127.0.0.1:{bus_port}",
            "BIOSEGMENT_CONNECTION": str(home.connection),
            "BIOSEGMENT_DATABASE_URL": f"sqlite+aiosqlite:///{home.database}",
            "BIOSEGMENT_STORE": store,
            "BIOSEGMENT_STORE_SESSION": self._session,
            "BIOSEGMENT_STORE_SESSIONS": known,
            "BIOSEGMENT_STORE_ENDPOINT": options.store_endpoint,
            "BIOSEGMENT_STORE_REGION": options.store_region,
            **roots,
            "BIOSEGMENT_OWN_FOLDERS": os.pathsep.join(
                [str(home.folder), *([] if "://" in store else [store])]
            ),
            "BIOSEGMENT_GATEWAY_LISTEN": f"{host}:{gateway_port}",
            "BIOSEGMENT_LOG_LEVEL": options.log_level,
            "PYTHONUNBUFFERED": "1",
            **options.environment,
        }
        python = (sys.executable, "-m")
        specs = [
            Spec(
                name="nats",
                command=(server, "-c", str(config)),
                stage=0,
                ready=lambda: listening("127.0.0.1", bus_port),
                answers=lambda seconds: nats.greets(bus_port, seconds),
                spoilt=nats.WasFull(home.nats),
                environment=environment,
                afterwards=(*python, "biosegment.runtime.provision"),
            )
        ]
        for name in SERVICES:
            listen = {"BIOSEGMENT_LISTEN": connection.address(name)}
            specs.append(
                Spec(
                    name=name,
                    command=(*python, f"biosegment.{name}"),
                    stage=_STAGES[name],
                    ready=(serving := _Serving(connection, name)),
                    answers=serving.answers,
                    environment=environment | listen,
                )
            )
        specs.append(
            Spec(
                name="gateway",
                command=(*python, "biosegment.gateway"),
                stage=_STAGES["gateway"],
                ready=lambda: _answers(f"{connection.gateway_url}/version", 2.0),
                answers=lambda seconds: _answers(f"{connection.gateway_url}/version", seconds),
                environment=environment,
            )
        )
        return specs

    def __enter__(self) -> "Platform":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class _Serving:
    """Whether a service reports itself as serving."""

    def __init__(self, connection: Connection, service: str) -> None:
        self._connection = connection
        self._service = service

    def __call__(self) -> bool:
        from biosegment.client.health import check

        host, _, port = self._connection.address(self._service).rpartition(":")
        # A plain connection is tried first: gRPC would wait and retry by itself.
        return listening(host, int(port)) and check(self._connection, self._service) == "serving"

    def answers(self, seconds: float) -> bool:
        """Whether it reports itself as serving: one whose work no longer moves does not.

        Nor does one that drains, but that ends before it owes answers enough to be killed.
        """
        from biosegment.client.health import check

        return check(self._connection, self._service, seconds) == "serving"


def _answers(url: str, seconds: float) -> bool:
    # Whatever proxy the environment names, this is our own port.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=seconds) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, http.client.HTTPException, OSError):
        return False


def _reachable(host: str) -> str:
    """The host of an address that listens on the given one, as it stands in a URL."""
    host = _WILDCARDS.get(host, host)
    return f"[{host}]" if ":" in host else host


def _joined(roots: Sequence[Path]) -> str:
    folders = []
    for root in roots:
        folder = root.expanduser().absolute()
        if not folder.is_dir():
            raise NotFoundError(f"{root} is not a folder that files can come from or go to.")
        folders.append(str(folder))
    return os.pathsep.join(folders)


def _check_installed() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise FailedPreconditionError(
            f"`biosegment up` runs every service, and {', '.join(missing)} is not installed here. "
            "Install the whole platform with: pip install 'biosegment[all]'"
        )
