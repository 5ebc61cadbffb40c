"""The REST protocol: the record as JSON, in the shape that the command line prints too."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from biosegment.client import names
from biosegment.client.plain import as_plain
from biosegment.client.stubs import AsyncStubs
from biosegment.gateway.auth import require_token
from biosegment.v1 import jobs_pb2, registry_pb2

router = APIRouter(prefix="/api/v1", dependencies=[Depends(require_token)])


def _stubs(request: Request) -> AsyncStubs:
    stubs: AsyncStubs = request.app.state.stubs
    return stubs


Stubs = Annotated[AsyncStubs, Depends(_stubs)]
PageSize = Annotated[
    int, Query(ge=0, le=1000, description="At most this many; 0 means the service's default.")
]
PageToken = Annotated[
    str, Query(max_length=2000, description="next_page_token of the page before.")
]


@router.get("/projects")
async def list_projects(
    stubs: Stubs, page_size: PageSize = 0, page_token: PageToken = ""
) -> dict[str, Any]:
    """Every project, by name."""
    request = registry_pb2.ListProjectsRequest(page_size=page_size, page_token=page_token)
    return as_plain(await stubs.registry.ListProjects(request))


@router.get("/projects/{project}/datasets")
async def list_datasets(
    stubs: Stubs, project: str, page_size: PageSize = 0, page_token: PageToken = ""
) -> dict[str, Any]:
    """The data sets of a project, by name; "-" means all projects."""
    request = registry_pb2.ListDatasetsRequest(
        parent=names.PROJECT.format(project), page_size=page_size, page_token=page_token
    )
    return as_plain(await stubs.registry.ListDatasets(request))


@router.get("/projects/{project}/datasets/{dataset}")
async def get_dataset(stubs: Stubs, project: str, dataset: str) -> dict[str, Any]:
    """One data set."""
    request = registry_pb2.GetDatasetRequest(name=names.DATASET.format(project, dataset))
    return as_plain((await stubs.registry.GetDataset(request)).dataset)


@router.get("/projects/{project}/jobs")
async def list_jobs(
    stubs: Stubs, project: str, page_size: PageSize = 0, page_token: PageToken = ""
) -> dict[str, Any]:
    """The jobs of a project, newest first; "-" means all projects."""
    request = jobs_pb2.ListJobsRequest(
        parent=names.PROJECT.format(project), page_size=page_size, page_token=page_token
    )
    return as_plain(await stubs.jobs.ListJobs(request))


@router.get("/projects/{project}/jobs/{job}")
async def get_job(stubs: Stubs, project: str, job: str) -> dict[str, Any]:
    """One job."""
    request = jobs_pb2.GetJobRequest(name=names.JOB.format(project, job))
    return as_plain((await stubs.jobs.GetJob(request)).job)
