"""Where the state of a search lies, and what it says."""

from biosegment.client import names
from biosegment.client.errors import InvalidArgumentError, NotFoundError
from biosegment.client.stubs import AsyncStubs
from biosegment.runtime import objects
from biosegment.v1 import jobs_pb2


def state_name(job: str) -> str:
    """Object name of the state of a search, a SearchResult.

    Args:
        job: projects/p/jobs/j
    """
    project, identity = names.parse(names.JOB, job)
    return f"projects/{project}/objects/jobs/{identity}/search"


async def found_so_far(stubs: AsyncStubs, job: str) -> jobs_pb2.SearchResult:
    """What a search has found so far, or in the end.

    Args:
        stubs: To reach registry and storage.
        job: projects/p/jobs/j

    Raises:
        NotFoundError: There is no such job.
        InvalidArgumentError: It is no search.
    """
    found = (await stubs.jobs.GetJob(jobs_pb2.GetJobRequest(name=job))).job
    if found.WhichOneof("spec") != "search_spec":
        raise InvalidArgumentError(f"{job} is no search.", name=job)
    if found.result.HasField("search_result"):
        return found.result.search_result
    try:
        return jobs_pb2.SearchResult.FromString(await objects.fetch(stubs, state_name(job)))
    except NotFoundError:
        # It waits for a worker.
        return jobs_pb2.SearchResult()
