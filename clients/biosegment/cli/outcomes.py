"""What came of a job, in a sentence or two, and what one would do next."""

from typing import TYPE_CHECKING

from biosegment.cli import units
from biosegment.client import names

if TYPE_CHECKING:
    from biosegment.client import Client
    from biosegment.v1.jobs_pb2 import Job

_FIGURES = ("loss", "iou", "dice", "held_out_iou")


def sentences(client: "Client", job: "Job") -> list[str]:
    """What a person wants to know of a job: of one that has ended well, what it made."""
    from biosegment.client.verbs.jobs import ENDED

    if job.state not in ENDED:
        return [f"{_kind(job)} {names.short(job.name)} is {_state(job)}. {_watch(job)}"]
    told = _TOLD.get(job.WhichOneof("spec") or "")
    made = told(client, job) if told is not None else []
    return made or [f"{_kind(job)} {names.short(job.name)} is {_state(job)}."]


def _kind(job: "Job") -> str:
    from biosegment.v1.jobs_pb2 import JobKind

    return "The job" if not job.kind else f"The {JobKind.Name(job.kind)[9:].lower()} job"


def _state(job: "Job") -> str:
    from biosegment.v1.jobs_pb2 import JobState

    return JobState.Name(job.state).removeprefix("JOB_STATE_").lower().replace("_", " ")


def _watch(job: "Job") -> str:
    return f"Watch it with: {names.command('job watch', job.name)}"


def _imported(client: "Client", job: "Job") -> list[str]:
    result, spec = job.result.import_result, job.import_spec
    if not result.volume:
        return []
    voxels = units.data_type(client.volume(result.volume).data_type)
    of = f"{units.extent(result.shape)} voxels of {units.voxels(result.voxel_size)}, {voxels}"
    if spec.WhichOneof("target") == "labels":
        volume, dataset = names.short(result.volume), spec.labels.dataset
        return [
            f"The reference labels {volume} of {names.short(dataset)} are ready: {of}.",
            (
                "Next, once there is a model version: biosegment evaluate MODEL/latest "
                f"{names.short(dataset)} {volume}"
            ),
        ]
    dataset = names.short(spec.dataset.name)
    return [f"The data set {dataset} is ready: {of}.", f"Next, {_after_import(client, dataset)}"]


def _after_import(client: "Client", dataset: str) -> str:
    if len(client.label_classes()) < 2:
        return "say what you look for: biosegment class set 1 NAME"
    if not client.models(limit=1):
        return "make a model: biosegment model create NAME --class 0 --class 1"
    return (
        f"let a model ask for labels: biosegment campaign start NAME --dataset {dataset} "
        "--model MODEL --automatic"
    )


def _exported(_: "Client", job: "Job") -> list[str]:
    result = job.result.export_result
    return [f"Wrote {result.path}, {units.size(result.size_bytes)}."] if result.path else []


def _trained(_: "Client", job: "Job") -> list[str]:
    result, spec = job.result.train_result, job.train_spec
    if not result.version:
        return []
    return [
        (
            f"Made {names.short(result.version)} from the labels of {names.short(spec.dataset)} "
            f"(revision {spec.revision}){_figures(dict(result.metrics))}."
        ),
        f"Next: {names.command('segment', result.version, names.short(spec.dataset))}",
    ]


def _figures(metrics: dict[str, float]) -> str:
    told = [f"{name.replace('_', ' ')} {metrics[name]:.4g}" for name in _FIGURES if name in metrics]
    return f": {', '.join(told)}" if told else ""


def _segmented(_: "Client", job: "Job") -> list[str]:
    result, spec = job.result.segment_result, job.segment_spec
    if not result.volume:
        return []
    name = names.short(spec.segmentation)
    told = f"The segmentation {name} is ready: {result.voxels:,} voxels by "
    told += f"{names.short(spec.version)}."
    if result.entropy_volume:
        told += f" Its uncertainty is the volume {names.short(result.entropy_volume)}."
    return [told, f"Next: {names.command('export', spec.segmentation, 'FILE.tif')}"]


def _evaluated(_: "Client", job: "Job") -> list[str]:
    result, spec = job.result.evaluate_result, job.evaluate_spec
    if not result.voxels:
        return []
    return [
        f"{names.short(spec.version)} on {names.short(spec.dataset)}, compared with "
        f"{names.short(spec.reference_volume)} on {result.voxels:,} voxels"
        + (_figures(dict(result.metrics)) or ": no figures")
        + "."
    ]


def _numbered(_: "Client", job: "Job") -> list[str]:
    result, spec = job.result.instances_result, job.instances_spec
    if not result.volume:
        return []
    volume = names.short(result.volume)
    many = "instance" if result.instances == 1 else "instances"
    dropped = f" {result.dropped:,} smaller ones were left out." if result.dropped else ""
    return [
        (
            f"{volume}: {result.instances:,} {many} in "
            f"{names.short(spec.segmentation or spec.source_volume)}.{dropped}"
        ),
        f"Next: {names.command('instances table', result.volume, f'--out {volume}.csv')}",
    ]


def _searched(_: "Client", job: "Job") -> list[str]:
    result = job.result.search_result
    if not result.trials:
        return []
    best = (
        f"trial {result.best_trial} did best" if result.HasField("best_trial") else "none did well"
    )
    return [
        f"Of {len(result.trials)} trials {best}.",
        f"Its settings: {names.command('search show', job.name)}",
    ]


_TOLD = {
    "import_spec": _imported,
    "export_spec": _exported,
    "train_spec": _trained,
    "segment_spec": _segmented,
    "evaluate_spec": _evaluated,
    "instances_spec": _numbered,
    "search_spec": _searched,
}
