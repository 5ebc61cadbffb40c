"""A job for people: without what only workers need."""

from typing import TYPE_CHECKING

from biosegment.cli.output import as_dict, show_values, stated
from biosegment.cli.session import Session

if TYPE_CHECKING:
    from biosegment.v1.jobs_pb2 import Job

# The fence of whoever holds it, and how often one may fail: both look like a count of failures.
_FENCE = ("attempt", "max_failures", "failures")


def write_job(session: Session, job: "Job") -> None:
    """Writes a job: JSON as it is, or lines for people that say how many tries have failed."""
    values = as_dict(job)
    if not session.as_json:
        for name in _FENCE:
            values.pop(name, None)
        # Proves who asked; it says nothing to a person.
        values.get("import_spec", {}).pop("grant", None)
        values = stated(values)
        values["tries_failed"] = str(job.failures)
    show_values(session, values)
