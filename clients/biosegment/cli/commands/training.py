"""train, search, tensorboard."""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biosegment.cli import parse
from biosegment.cli.commands.data import Wait
from biosegment.cli.follow import finish
from biosegment.cli.output import as_dict, show_rows, show_values, tell, write_json
from biosegment.cli.session import session_of

if TYPE_CHECKING:
    from biosegment.v1.jobs_pb2 import SearchResult, TrainingSettings

search_app = typer.Typer(no_args_is_help=True, help="Searches for the settings that train best.")


class Precision(StrEnum):
    """What the network computes with."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


BaseVersion = Annotated[
    str | None, typer.Option(help="Version to fine-tune.  [default: fresh weights]")
]
Revision = Annotated[int, typer.Option(min=0, help="Of the annotation log; 0 means the newest.")]
Steps = Annotated[int, typer.Option(min=0, help="Optimiser steps, at most.")]
BatchSize = Annotated[int, typer.Option(min=0, help="Patches per step.")]
LearningRate = Annotated[float, typer.Option(min=0, help="Peak learning rate.")]
Patch = Annotated[str | None, typer.Option(help=f"Patch extent, {parse.SHAPE_HELP}")]
Seed = Annotated[int, typer.Option(help="Seed of every random choice.")]
HoldOut = Annotated[
    float,
    typer.Option(
        min=0.0, max=0.5, help="Fraction of the labelled patches to hold out and measure on."
    ),
]
MeasureEvery = Annotated[int, typer.Option(min=0, help="Steps between measurements.")]
Patience = Annotated[
    int, typer.Option(min=0, help="Measurements without gain after which training stops.")
]
PrecisionOption = Annotated[Precision, typer.Option(help="What the network computes with.")]


def _settings(
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    patch: str | None,
    seed: int,
    hold_out: float,
    measure_every: int,
    patience: int,
    precision: Precision,
) -> "TrainingSettings":
    from biosegment.client.geometry import shape_proto
    from biosegment.v1 import jobs_pb2

    if (measure_every or patience) and not hold_out:
        raise typer.BadParameter("--measure-every and --patience need --hold-out.")
    extent = parse.shape(patch)
    wanted = "UNSPECIFIED" if precision == Precision.AUTO else precision.name
    return jobs_pb2.TrainingSettings(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patch=shape_proto(extent) if extent else None,
        seed=seed,
        hold_out=jobs_pb2.HoldOut(fraction=hold_out, every_steps=measure_every, patience=patience)
        if hold_out
        else None,
        precision=jobs_pb2.TrainingPrecision.Value(f"TRAINING_PRECISION_{wanted}"),
    )


def train(
    ctx: typer.Context,
    model: str,
    dataset: str,
    base_version: BaseVersion = None,
    revision: Revision = 0,
    steps: Steps = 0,
    batch_size: BatchSize = 0,
    learning_rate: LearningRate = 0.0,
    dice_weight: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Weight of the Dice term beside cross entropy."),
    ] = None,
    patch: Patch = None,
    seed: Seed = 0,
    hold_out: HoldOut = 0.0,
    measure_every: MeasureEvery = 0,
    patience: Patience = 0,
    precision: PrecisionOption = Precision.AUTO,
    find_learning_rate: Annotated[
        bool, typer.Option("--find-learning-rate", help="Choose it by a range test first.")
    ] = False,
    find_batch_size: Annotated[
        bool, typer.Option("--find-batch-size", help="Choose it by trying first.")
    ] = False,
    wait: Wait = True,
) -> None:
    """Train a model on the annotations of a data set. 0 takes the service's default."""
    session = session_of(ctx)
    with session.client() as client:
        settings = _settings(
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            patch=patch,
            seed=seed,
            hold_out=hold_out,
            measure_every=measure_every,
            patience=patience,
            precision=precision,
        )
        settings.find_learning_rate, settings.find_batch_size = find_learning_rate, find_batch_size
        if dice_weight is not None:
            settings.dice_weight = dice_weight
        job = client.train(
            model, dataset, base_version=base_version, revision=revision, settings=settings
        )
        finish(session, client, job, wait=wait)


@search_app.command("start")
def search_start(
    ctx: typer.Context,
    model: str,
    dataset: str,
    vary: Annotated[
        list[str],
        typer.Option(
            help="name=lowest:highest of learning_rate, batch_size or dice_weight; may be "
            "repeated. Factors matter for the first two; a third part, :linear or :log, says "
            "otherwise."
        ),
    ],
    trials: Annotated[int, typer.Option(min=0, help="How often to train.")] = 0,
    base_version: BaseVersion = None,
    revision: Revision = 0,
    steps: Steps = 0,
    batch_size: BatchSize = 0,
    learning_rate: LearningRate = 0.0,
    patch: Patch = None,
    seed: Seed = 0,
    hold_out: HoldOut = 0.2,
    measure_every: MeasureEvery = 0,
    patience: Patience = 0,
    precision: PrecisionOption = Precision.AUTO,
    make_version: Annotated[
        bool, typer.Option("--make-version", help="Keep the best trial as a model version.")
    ] = False,
    wait: Wait = True,
) -> None:
    """Train several times with settings that vary, and find the best. 0 takes the default."""
    session = session_of(ctx)
    ranges = parse.ranges(vary)
    with session.client() as client:
        settings = _settings(
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            patch=patch,
            seed=seed,
            hold_out=hold_out,
            measure_every=measure_every,
            patience=patience,
            precision=precision,
        )
        job = client.search(
            model,
            dataset,
            ranges,
            trials=trials,
            base_version=base_version,
            revision=revision,
            settings=settings,
            make_version=make_version,
        )
        finish(session, client, job, wait=wait)


@search_app.command("show")
def search_show(ctx: typer.Context, job: str) -> None:
    """Show the trials of a search, and the settings of the best."""
    session = session_of(ctx)
    with session.client() as client:
        found = client.search_result(job)
    if session.as_json:
        write_json(as_dict(found))
        return
    rows = [
        {
            "trial": trial.get("number", 0),
            "state": trial["state"],
            **dict(sorted(trial.get("values", {}).items())),
            "held-out IoU": trial.get("iou", ""),
            "seconds": trial.get("seconds", ""),
            "error": trial.get("error", ""),
        }
        for trial in as_dict(found).get("trials", [])
    ]
    show_rows(rows, empty="No trial has begun yet.")
    _tell_best(found)


def _tell_best(found: "SearchResult") -> None:
    if not found.HasField("best_trial"):
        return
    best = found.best_settings
    typer.echo(f"\nTrial {found.best_trial} is the best. Train on all labels with its settings:")
    typer.echo(
        f"  biosegment train MODEL DATASET --learning-rate {best.learning_rate:.3g} "
        f"--batch-size {best.batch_size} --dice-weight {best.dice_weight:.3g} "
        f"--steps {best.steps} --patch {best.patch.z},{best.patch.y},{best.patch.x}"
    )


def tensorboard(
    ctx: typer.Context,
    job: Annotated[
        str | None, typer.Argument(help="A training or a search.  [default: all of the project]")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to serve.")] = 6006,
    where: Annotated[bool, typer.Option("--where", help="Only say where the curves are.")] = False,
) -> None:
    """Show the curves of training in TensorBoard, until Ctrl-C."""
    import importlib.util

    from biosegment.client.errors import FailedPreconditionError, NotFoundError

    session = session_of(ctx)
    with session.client() as client:
        folder = client.training_logs(job)
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", folder, "--port", str(port)]
    if where:
        show_values(session, {"folder": folder, "command": f"tensorboard --logdir {folder}"})
        return
    if importlib.util.find_spec("tensorboard") is None:
        raise FailedPreconditionError(
            f"The curves are in {folder}, and TensorBoard is not installed here. Install it with: "
            "pip install 'biosegment[tensorboard]'"
        )
    if "://" not in folder and not Path(folder).is_dir():
        raise NotFoundError(
            f"There are no curves in {folder}. They come with the first checkpoint, on the "
            "machine of the store, where tensorboard is installed beside the training service."
        )
    tell(f"TensorBoard on {folder}")
    os.execv(command[0], command)  # noqa: S606 - no shell wanted


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(train)
    app.add_typer(search_app, name="search")
    app.command()(tensorboard)
