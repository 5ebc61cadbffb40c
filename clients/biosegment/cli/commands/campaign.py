"""campaign: start, list, show, advance, pause, resume, stop, proposals, claim."""

import getpass
from enum import StrEnum
from typing import Annotated

import typer

from biosegment.cli import parse, units
from biosegment.cli.output import answer, as_dict, show, show_all, tell, write_json
from biosegment.cli.session import session_of
from biosegment.cli.waits import started_lines, waiting_lines
from biosegment.client import names

_FRESH = (
    "fresh_iou is the IoU of a round's version on the patches that people answered in the next "
    "round, measured before they were learnt from. They are the ones it is least sure of, so that "
    "the whole volume is better. With --reference the rounds have an iou of their own."
)
campaign_app = typer.Typer(no_args_is_help=True, help="Active-learning campaigns.")


class CandidateSource(StrEnum):
    """Where the candidates of a round come from."""

    POOL = "pool"
    UNCERTAINTY_VOLUME = "uncertainty-volume"


@campaign_app.command("start")
def start(
    ctx: typer.Context,
    name: str,
    dataset: Annotated[str, typer.Option(help="The data set.")],
    model: Annotated[str, typer.Option(help="The model.")],
    base_version: Annotated[
        str | None, typer.Option(help="Version to start from.  [default: a random first round]")
    ] = None,
    strategy: Annotated[str, typer.Option(help="The acquisition function.")] = "entropy",
    parameter: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value for the strategy; may be repeated."),
    ] = None,
    patch: Annotated[str | None, typer.Option(help=f"Patch extent, {parse.SHAPE_HELP}")] = None,
    initial: Annotated[int, typer.Option(min=0, help="Patches before the first training.")] = 0,
    batch: Annotated[int, typer.Option(min=0, help="Patches in every later round.")] = 0,
    pool: Annotated[int, typer.Option(min=0, help="Candidates looked at in each round.")] = 0,
    candidates: Annotated[
        CandidateSource,
        typer.Option(help="Random patches, or those that an uncertainty volume points at."),
    ] = CandidateSource.POOL,
    refresh_rounds: Annotated[
        int,
        typer.Option(min=0, help="Make a fresh uncertainty volume in every so many rounds."),
    ] = 0,
    budget: Annotated[int, typer.Option(min=0, help="Patches to label in all.")] = 0,
    region: Annotated[
        str | None, typer.Option(help=f"Where proposals may lie, {parse.BOX_HELP}")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Label volume to measure each round's model against.")
    ] = None,
    evaluate_box: Annotated[
        str | None, typer.Option(help=f"Voxels to measure on, {parse.BOX_HELP}")
    ] = None,
    pretrain_steps: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Steps on the raw voxels alone, while you answer round 1, however long they "
            "take; 0: none.",
        ),
    ] = None,
    pretrain_minutes: Annotated[
        float,
        typer.Option(min=0.0, help="Or so many minutes at most; it ends once round 1 is answered."),
    ] = 0.0,
    first_strategy: Annotated[
        str, typer.Option(help="The acquisition function of round 1; random by default.")
    ] = "",
    steps: Annotated[int, typer.Option(min=0, help="Steps of a training on the first batch.")] = 0,
    round_steps: Annotated[int, typer.Option(min=0, help="Steps of each later one.")] = 0,
    train_minutes: Annotated[
        float, typer.Option(min=0.0, help="Minutes that a training takes at most.")
    ] = 0.0,
    stop_uncertainty: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=0.99,
            help="End when the entropy of the proposals falls below this fraction of the first.",
        ),
    ] = 0.0,
    stop_patience: Annotated[
        int, typer.Option(min=0, help="End when this many rounds in a row brought no gain.")
    ] = 0,
    stop_gain: Annotated[
        float, typer.Option(min=0.0, max=0.99, help="The gain in IoU that patience waits for.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    automatic: Annotated[
        bool, typer.Option("--automatic", help="Each step starts the next by itself.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Check everything, start nothing.")
    ] = False,
) -> None:
    """Start a campaign. What is 0 or not given takes the service's default."""
    session = session_of(ctx)
    if evaluate_box is not None and reference is None:
        raise typer.BadParameter("--evaluate-box needs --reference.")
    plan = None if reference is None else (reference, parse.optional_box(evaluate_box))
    from biosegment.v1 import campaigns_pb2
    from biosegment.v1.jobs_pb2 import TrainingSettings

    stopping = campaigns_pb2.StoppingRule(
        uncertainty_fraction=stop_uncertainty, patience=stop_patience, min_gain=stop_gain
    )
    start = TrainingSettings(steps=pretrain_steps or 0, max_seconds=60 * pretrain_minutes)
    with session.client() as client:
        campaign = client.start_campaign(
            name,
            dataset=dataset,
            model=model,
            base_version=base_version,
            strategy=strategy,
            strategy_parameters=parse.parameters(parameter),
            patch=parse.shape(patch),
            initial_patches=initial,
            batch_patches=batch,
            pool_patches=pool,
            budget_patches=budget,
            region=parse.optional_box(region),
            evaluate_on=plan,
            pretraining=start if start.ByteSize() else None,
            skip_pretraining=pretrain_steps == 0,
            first_strategy=first_strategy,
            initial_training=TrainingSettings(steps=steps, max_seconds=60 * train_minutes),
            round_training=TrainingSettings(steps=round_steps, max_seconds=60 * train_minutes),
            stopping=stopping,
            candidates=campaigns_pb2.CandidateSource.Value(f"CANDIDATE_SOURCE_{candidates.name}"),
            refresh_rounds=refresh_rounds,
            seed=seed,
            automatic=automatic,
            validate_only=check,
        )
    done = "could start" if check else "has started"
    answer(
        session,
        campaign,
        f"The campaign {name} {done}: {campaign.initial_patches} patches of "
        f"{units.extent(campaign.patch)} voxels of {names.short(campaign.dataset)} first, then "
        f"{campaign.batch_patches} a round, {campaign.budget_patches} in all, to teach "
        f"{names.short(campaign.model)}.",
        *(started_lines(campaign) if campaign.HasField("waiting") else ()),
    )


@campaign_app.command("list")
def list_campaigns(ctx: typer.Context) -> None:
    """List the campaigns of the project."""
    session = session_of(ctx)
    with session.client() as client:
        columns = ["name", "state", "dataset", "model", "strategy.name", "state_reason"]
        show_all(session, client.campaigns(), columns)


@campaign_app.command("show")
def show_campaign(ctx: typer.Context, campaign: str) -> None:
    """Show a campaign and its rounds."""
    session = session_of(ctx)
    with session.client() as client:
        found, rounds = client.campaign(campaign), client.rounds(campaign)
    from biosegment.client.verbs.campaigns import total_cost

    cost = total_cost(rounds)
    if session.as_json:
        told = [as_dict(each) for each in rounds]
        write_json({**as_dict(found), "cost": as_dict(cost), "rounds": told})
        return
    waiting = waiting_lines(found.waiting)
    found.ClearField("waiting")
    show(session, found)
    typer.echo()
    columns = ["name", "state", "labelled_patches", "version", "metrics", "seconds", "cost"]
    show_all(session, rounds, columns, empty="No round was opened yet.")
    typer.echo(
        f"\nLabelled: {cost.patches} patches, {cost.labelled_voxels} voxels, with {cost.strokes} "
        f"strokes in {cost.seconds:.0f} s of people's time."
    )
    if any("fresh_iou" in each.metrics for each in rounds):
        typer.echo(_FRESH)
    typer.echo("\n" + "\n".join(waiting))


@campaign_app.command("advance")
def advance(
    ctx: typer.Context,
    campaign: str,
    close_round: Annotated[
        bool, typer.Option("--close-round", help="Train even if proposals are still open.")
    ] = False,
) -> None:
    """Do the next step of a campaign if it is due."""
    session = session_of(ctx)
    with session.client() as client:
        step = client.advance(campaign, close_round=close_round)
    answer(session, step, step.message)


def _set_state(ctx: typer.Context, campaign: str, state: str, reason: str) -> None:
    from biosegment.v1 import campaigns_pb2

    session = session_of(ctx)
    value = campaigns_pb2.CampaignState.Value(f"CAMPAIGN_STATE_{state}")
    with session.client() as client:
        changed = client.set_campaign_state(campaign, value, reason)
    answer(session, changed, f"The campaign {campaign} is {state.lower()}.")


Reason = Annotated[str, typer.Option(help="Why, in a sentence.")]


@campaign_app.command("pause")
def pause(ctx: typer.Context, campaign: str, reason: Reason = "") -> None:
    """Hold a campaign: nothing new is started, what runs ends by itself."""
    _set_state(ctx, campaign, "PAUSED", reason)
    session = session_of(ctx)
    if not session.as_json:
        with session.client() as client:
            tell("\n".join(waiting_lines(client.campaign(campaign).waiting)))


@campaign_app.command("resume")
def resume(ctx: typer.Context, campaign: str, reason: Reason = "") -> None:
    """Let a paused or failed campaign go on."""
    _set_state(ctx, campaign, "ACTIVE", reason)


@campaign_app.command("stop")
def stop(ctx: typer.Context, campaign: str, reason: Reason = "") -> None:
    """End a campaign for good, and cancel the jobs that it has started."""
    session = session_of(ctx)
    with session.client() as client:
        stopped = client.stop_campaign(campaign, reason)
    cancelled = [f"Cancelled {names.short(job)}." for job in stopped.cancelled_jobs]
    answer(session, stopped, f"The campaign {campaign} is finished.", *cancelled)


_PROPOSAL_COLUMNS = ["name", "box", "score", "state", "claimant", "annotation"]


@campaign_app.command("proposals")
def proposals(
    ctx: typer.Context,
    campaign: str,
    index: Annotated[int, typer.Option("--round", min=0, help="Only of this round.")] = 0,
) -> None:
    """List the proposals of a campaign, best first."""
    session = session_of(ctx)
    with session.client() as client:
        show_all(session, client.proposals(campaign, round_index=index), _PROPOSAL_COLUMNS)


@campaign_app.command("claim")
def claim(
    ctx: typer.Context,
    campaign: str,
    claimant: Annotated[
        str | None, typer.Option(help="Who will label.  [default: your user name]")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=1000, help="At most this many.")] = 1,
) -> None:
    """Borrow proposals to label; answer them with `biosegment annotate commit`."""
    session = session_of(ctx)
    who = claimant or getpass.getuser()
    with session.client() as client:
        found = client.claim_or_why(campaign, who, count=count)
    lent = list(found.proposals)
    why = "\n".join(waiting_lines(found.waiting))
    show_all(session, lent, _PROPOSAL_COLUMNS, empty=f"There is nothing to label now. {why}")
    if lent and not session.as_json:
        tell(f"Lent to {who}.")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(campaign_app, name="campaign")
