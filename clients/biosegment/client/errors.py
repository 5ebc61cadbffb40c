"""Errors that a person can act on, the same class on both ends of the wire.

A service raises one of these; the server's interceptor maps it to a
``google.rpc.Status`` with ``ErrorInfo``; the SDK raises the same class again,
looked up in a table by its reason (never by a name that came over the wire).
"""

from typing import Any, ClassVar

DOMAIN = "biosegment"


class DomainError(Exception):
    """Base of every expected error.

    Attributes:
        code: Name of the gRPC status code.
        reason: UPPER_SNAKE identity of the class, as in ``google.rpc.ErrorInfo``.
        retryable: Whether the same request may succeed later unchanged.
        message: One clear sentence: what was wrong, where, what to do.
        metadata: Everything dynamic in the message, as strings.
    """

    code: ClassVar[str] = "UNKNOWN"
    reason: ClassVar[str] = "UNKNOWN"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **metadata: object) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = {key: str(value) for key, value in metadata.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles with metadata, so that a child process can raise it in its parent."""
        return (error_of, (self.reason, self.message, self.metadata))


class InvalidArgumentError(DomainError):
    """The request itself is wrong, whatever the state of the system."""

    code = "INVALID_ARGUMENT"
    reason = "INVALID_ARGUMENT"


class NotFoundError(DomainError):
    """What the request names does not exist."""

    code = "NOT_FOUND"
    reason = "NOT_FOUND"


class AlreadyExistsError(DomainError):
    """The name is taken."""

    code = "ALREADY_EXISTS"
    reason = "ALREADY_EXISTS"


class OutsideVolumeError(DomainError):
    """A box leaves its volume."""

    code = "OUT_OF_RANGE"
    reason = "OUTSIDE_VOLUME"


class UnauthenticatedError(DomainError):
    """The request carries no valid token."""

    code = "UNAUTHENTICATED"
    reason = "UNAUTHENTICATED"


class PermissionDeniedError(DomainError):
    """The caller may not do this."""

    code = "PERMISSION_DENIED"
    reason = "PERMISSION_DENIED"


class PathNotAllowedError(DomainError):
    """A path leaves the roots that the administrator allowed."""

    code = "PERMISSION_DENIED"
    reason = "PATH_NOT_ALLOWED"


class FailedPreconditionError(DomainError):
    """The request is fine, but not in the present state."""

    code = "FAILED_PRECONDITION"
    reason = "FAILED_PRECONDITION"


class JobNotClaimableError(DomainError):
    """The job is held by another worker, not due yet, or ended."""

    code = "FAILED_PRECONDITION"
    reason = "JOB_NOT_CLAIMABLE"


class BlocksNotClaimableError(DomainError):
    """The run of blocks is held by another worker, or settled."""

    code = "FAILED_PRECONDITION"
    reason = "BLOCKS_NOT_CLAIMABLE"


class AbortedError(DomainError):
    """Somebody else was faster; look again and decide anew."""

    code = "ABORTED"
    reason = "CONFLICT"


class LeaseLostError(DomainError):
    """The worker's claim is no longer the newest; it must stop."""

    code = "ABORTED"
    reason = "LEASE_LOST"


class JobCancelledError(DomainError):
    """The job was cancelled."""

    code = "CANCELLED"
    reason = "JOB_CANCELLED"


class ResourceExhaustedError(DomainError):
    """Too large or too much at once."""

    code = "RESOURCE_EXHAUSTED"
    reason = "RESOURCE_EXHAUSTED"
    retryable = True


class OutOfMemoryError(DomainError):
    """The device or the machine has too little memory for the size asked."""

    code = "RESOURCE_EXHAUSTED"
    reason = "OUT_OF_MEMORY"
    retryable = True


class WorkerDiedError(DomainError):
    """The process that did the work ended without an answer."""

    code = "UNAVAILABLE"
    reason = "WORKER_DIED"
    retryable = True


class UnavailableError(DomainError):
    """A service cannot be reached at the moment."""

    code = "UNAVAILABLE"
    reason = "UNAVAILABLE"
    retryable = True


class StoreError(DomainError):
    """The store did not give or take voxels: they are damaged, or the disk is full."""

    code = "UNAVAILABLE"
    reason = "STORE_FAILED"
    retryable = True


class DeadlineError(DomainError):
    """The answer did not come in time."""

    code = "DEADLINE_EXCEEDED"
    reason = "DEADLINE_EXCEEDED"
    retryable = True


class InternalError(DomainError):
    """A defect; the log of the service has the details under the given id."""

    code = "INTERNAL"
    reason = "INTERNAL"


def _all_subclasses(cls: type[DomainError]) -> list[type[DomainError]]:
    found = []
    for sub in cls.__subclasses__():
        found += [sub, *_all_subclasses(sub)]
    return found


ERRORS: dict[str, type[DomainError]] = {cls.reason: cls for cls in _all_subclasses(DomainError)}
"""Every error class by its reason."""

_BY_CODE: dict[str, type[DomainError]] = {}
for _cls in _all_subclasses(DomainError):
    _BY_CODE.setdefault(_cls.code, _cls)


def error_of(reason: str, message: str, metadata: dict[str, str]) -> DomainError:
    """Builds the error that a reason stands for; an unknown reason gives the base class."""
    return ERRORS.get(reason, DomainError)(message, **metadata)


def error_of_code(code: str, message: str) -> DomainError:
    """Builds an error from a bare gRPC status code, as libraries and proxies send it."""
    if code == "UNAVAILABLE":
        return UnavailableError(message)
    return _BY_CODE.get(code, DomainError)(message)
