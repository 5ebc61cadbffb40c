"""Searches for the settings that train best, and the curves of training."""

import json
from collections.abc import Mapping

from biosegment.client import names
from biosegment.client.verbs.base import QUICK_SECONDS, START_SECONDS, Verbs, request_id
from biosegment.v1 import jobs_pb2, storage_pb2, training_pb2

LOGARITHMIC = frozenset({"learning_rate", "batch_size"})
"""What is varied by factors unless said otherwise."""


class SearchVerbs(Verbs):
    """Which settings train best, and how training went."""

    async def search(
        self,
        model: str,
        dataset: str,
        vary: Mapping[str, tuple[float, float] | jobs_pb2.SearchParameter],
        *,
        trials: int = 0,
        base_version: str | None = None,
        revision: int = 0,
        settings: jobs_pb2.TrainingSettings | None = None,
        make_version: bool = False,
    ) -> jobs_pb2.Job:
        """Starts a search: trains several times, and compares on patches that are held out.

        Args:
            model: The model.
            dataset: The data set.
            vary: Lowest and highest value of ``learning_rate``, ``batch_size`` (both by factors),
                ``dice_weight``; a SearchParameter says more.
            trials: How often to train; 0 takes the service's default.
            base_version: The version that every trial fine-tunes; None means fresh weights.
            revision: Of the annotation log; 0 means the newest.
            settings: What is not varied; zero values take the service's defaults.
            make_version: Make a model version of the best trial's weights.

        Returns:
            The job; ``search_result`` has its trials while it runs and after.

        Raises:
            FailedPreconditionError: The revision holds no labels of the model's classes, or
                Optuna is not installed where training runs.
            InvalidArgumentError: There is nothing to vary, or a range is out of bounds.
            NotFoundError: Model, version or data set does not exist.
        """
        name = self.name(names.MODEL, model)
        parameters = []
        for field, given in vary.items():
            if isinstance(given, jobs_pb2.SearchParameter):
                parameter = jobs_pb2.SearchParameter()
                parameter.CopyFrom(given)
                parameter.name = field
            else:
                low, high = given
                parameter = jobs_pb2.SearchParameter(
                    name=field, low=low, high=high, logarithmic=field in LOGARITHMIC
                )
            parameters.append(parameter)
        request = training_pb2.StartSearchRequest(
            parent=names.project_of(name),
            request_id=request_id(),
            spec=jobs_pb2.SearchSpec(
                training=jobs_pb2.TrainSpec(
                    model=name,
                    base_version=self.name(names.VERSION, base_version) if base_version else "",
                    dataset=self.name(names.DATASET, dataset),
                    revision=revision,
                    settings=settings,
                ),
                parameters=parameters,
                trials=trials,
                make_version=make_version,
            ),
        )
        return (await self.stubs.training.StartSearch(request, timeout=START_SECONDS)).job

    async def search_result(self, job: str) -> jobs_pb2.SearchResult:
        """What a search has found so far, or in the end: its trials, and the best settings.

        Raises:
            NotFoundError: There is no such job.
            InvalidArgumentError: It is no search.
        """
        request = training_pb2.GetSearchRequest(name=self.name(names.JOB, job))
        return (await self.stubs.training.GetSearch(request, timeout=QUICK_SECONDS)).result

    async def training_logs(self, job: str | None = None) -> str:
        """Where TensorBoard finds the curves of a training or a search.

        They are written with each checkpoint, so there is nothing there at first, and never
        anything where tensorboard is not installed beside the training service.

        Args:
            job: The job; None means all jobs of the project.

        Returns:
            A folder on the machine of the store, or the address of a prefix in a bucket.

        Raises:
            NotFoundError: There is no such job.
        """
        project, folder = self.project, "jobs"
        if job is not None:
            request = jobs_pb2.GetJobRequest(name=self.name(names.JOB, job))
            found = (await self.stubs.jobs.GetJob(request, timeout=QUICK_SECONDS)).job
            project, identity = names.parse(names.JOB, found.name)
            folder = f"jobs/{identity}"
        answer = await self.stubs.storage.ResolveObject(
            storage_pb2.ResolveObjectRequest(name=f"projects/{project}/objects/{folder}"),
            timeout=QUICK_SECONDS,
        )
        spec = json.loads(answer.kvstore_spec)
        if spec["driver"] == "file":
            return str(spec["path"])
        return f"{spec['driver']}://{spec.get('bucket', '')}/{spec['path']}"
