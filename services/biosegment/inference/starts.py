"""Recording jobs, each once per request."""

from biosegment.client.stubs import AsyncStubs
from biosegment.v1 import jobs_pb2

_REQUEST_KEY = "request_id"
_LOOK_BACK = 200


async def create(
    stubs: AsyncStubs, parent: str, request_id: str, job: jobs_pb2.Job
) -> jobs_pb2.Job:
    """Records a job; a repeat of the request gets the same one."""
    job.labels.update({_REQUEST_KEY: request_id})
    answer = await stubs.jobs.CreateJob(
        jobs_pb2.CreateJobRequest(parent=parent, request_id=request_id, job=job)
    )
    return answer.job


async def earlier(
    stubs: AsyncStubs, parent: str, request_id: str, kind: "jobs_pb2.JobKind.ValueType"
) -> jobs_pb2.Job | None:
    """The job that this request started already, whose own output now takes the name."""
    if not request_id:
        return None
    answer = await stubs.jobs.ListJobs(
        jobs_pb2.ListJobsRequest(parent=parent, page_size=_LOOK_BACK, kinds=[kind])
    )
    for job in answer.jobs:
        labels = job.labels.fields
        if _REQUEST_KEY in labels and labels[_REQUEST_KEY].string_value == request_id:
            return job
    return None
