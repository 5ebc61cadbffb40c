"""The command; only typer at module level, so that --help answers at once."""

import importlib.util
import signal
from pathlib import Path
from typing import Annotated

import typer

from biosegment.cli import output, parse
from biosegment.cli.session import session_of

_NEEDED = ("scipy", "tifffile", "matplotlib")


def demo(
    ctx: typer.Context,
    out: Annotated[
        Path, typer.Option(help="Folder for the data, the platform, the exports and the report.")
    ] = Path("demo"),
    image: Annotated[
        Path | None, typer.Option(help="TIFF stack to segment, instead of a phantom.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="TIFF stack with the truth, of the image's extent.")
    ] = None,
    voxel_size: Annotated[
        str | None,
        typer.Option(help="z,y,x in nanometres; else as the file says, or 40,8,8."),
    ] = None,
    class_value: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Value in the labels to learn; else all but 0."),
    ] = None,
    class_name: Annotated[str, typer.Option(help="What the class is.")] = "mitochondria",
    phantom_shape: Annotated[
        str, typer.Option(help=f"Extent of the phantom, {parse.SHAPE_HELP}")
    ] = "16,512,512",
    strategy: Annotated[str, typer.Option(help="Acquisition function.")] = "entropy",
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Rounds in all.")] = 5,
    initial: Annotated[int, typer.Option(min=1, help="Patches before the first training.")] = 8,
    batch: Annotated[int, typer.Option(min=1, help="Patches in every later round.")] = 8,
    pool: Annotated[int, typer.Option(min=1, help="Candidates scored in each round.")] = 200,
    patch: Annotated[int, typer.Option(min=16, help="Edge of the patches, times 16.")] = 128,
    initial_steps: Annotated[int, typer.Option(min=1, help="Steps of the first training.")] = 200,
    round_steps: Annotated[int, typer.Option(min=1, help="Steps of every later one.")] = 100,
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="Of every random choice.")] = 0,
) -> None:
    """Go the whole way on a phantom or on your data, and write a report.

    Starts a platform of its own, imports a volume with its truth, lets a simulated expert answer
    the patches that active learning proposes in the half with low y, measures every model on the
    other half, segments the whole volume and exports it.
    """
    from biosegment.cli.demo.display import Display
    from biosegment.cli.demo.plan import Plan
    from biosegment.cli.demo.run import run
    from biosegment.client.errors import FailedPreconditionError

    if (image is None) != (labels is None):
        raise typer.BadParameter("--image and --labels are given together or not at all.")
    if patch % 16:
        raise typer.BadParameter(f"--patch is {patch}; it must be a multiple of 16.")
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise FailedPreconditionError(
            f"The demo needs {', '.join(missing)}. Install the whole platform with: "
            "pip install 'biosegment[all]'"
        )
    plan = Plan(
        out=out.expanduser().absolute(),
        image=image.expanduser().absolute() if image else None,
        labels=labels.expanduser().absolute() if labels else None,
        voxel_size=parse.voxel_size(voxel_size),
        class_value=class_value,
        class_name=class_name,
        phantom_shape=parse.shape(phantom_shape) or (16, 512, 512),
        strategy=strategy,
        rounds=rounds,
        initial=initial,
        batch=batch,
        pool=max(pool, initial, batch),
        patch=patch,
        initial_steps=initial_steps,
        round_steps=round_steps,
        seed=seed,
    )
    # `kill` ends the platform as orderly as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        made = run(plan, Display())
    except KeyboardInterrupt:
        output.tell("\nStopped; nothing goes on running.")
        raise typer.Exit(130) from None
    if session_of(ctx).as_json:
        output.write_json(made)
