"""One step of a campaign: look at the record, do the next thing if it is due.

Nothing is remembered between steps, and every step may be taken twice: jobs are
started with request ids made of round and step, and rounds are moved from the
state that was read, so whoever comes second changes nothing.
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from biosegment.acquisition import record, stopping, uncertainty
from biosegment.client.errors import DomainError
from biosegment.client.names import command, project_of, short
from biosegment.client.stubs import AsyncStubs
from biosegment.v1 import campaigns_pb2 as pb
from biosegment.v1 import inference_pb2, jobs_pb2, registry_pb2, training_pb2

_START_SECONDS = 120.0
_INT64 = (1 << 63) - 1
_ENDED_BADLY = {
    jobs_pb2.JOB_STATE_FAILED: "failed",
    jobs_pb2.JOB_STATE_CANCELLED: "was cancelled",
    jobs_pb2.JOB_STATE_PARTIALLY_SUCCEEDED: "was done in part only",
}
_LEARNING = "The model learns from raw voxels"
_FRESH = ("fresh_iou", "fresh_patches", "fresh_voxels")
_ENDED = (jobs_pb2.JOB_STATE_SUCCEEDED, *_ENDED_BADLY)
_SETTLED = (pb.PROPOSAL_STATE_DONE, pb.PROPOSAL_STATE_SKIPPED)
EXHAUSTED = "exhausted"
"""Key in the error of a ranking that found no room for another patch."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step came to.

    Attributes:
        moved: Whether anything was done; if so, another step may be due at once.
        message: What was done, or what is waited for, in a sentence.
    """

    moved: bool
    message: str


class Driver:
    """Takes steps."""

    def __init__(self, stubs: AsyncStubs) -> None:
        self._stubs = stubs

    async def step(
        self, campaign: pb.Campaign, *, open_round: bool, close_round: bool = False
    ) -> Outcome:
        """Takes the next step of an active campaign if it is due.

        Args:
            campaign: As the record has it.
            open_round: Whether a new round may be opened: always in automatic campaigns, in
                others only when a person asks. The rest of a round goes on by itself.
            close_round: Start training on what is answered, even if proposals are still open.

        Raises:
            AbortedError: Somebody else was faster; look again.
            DomainError: A service refused or is away.
        """
        rounds = await record.rounds_of(self._stubs, campaign.name)
        if not rounds:
            return await self._next_round(campaign, rounds, open_round)
        current = rounds[-1]
        if current.state != pb.ROUND_STATE_RANKING:
            # People have their proposals, or wait for nothing: now the measuring is due.
            measured = await self._measure(campaign, rounds[:-1])
            if measured.moved:
                return measured
        steps: dict[int, Callable[[], Coroutine[Any, Any, Outcome]]] = {
            pb.ROUND_STATE_RANKING: lambda: self._ranking(campaign, rounds),
            pb.ROUND_STATE_ANNOTATING: lambda: self._annotating(campaign, rounds, close_round),
            pb.ROUND_STATE_TRAINING: lambda: self._training(campaign, rounds),
            pb.ROUND_STATE_EVALUATING: lambda: self._evaluating(campaign, rounds, open_round),
            pb.ROUND_STATE_DONE: lambda: self._next_round(campaign, rounds, open_round),
        }
        return await steps[current.state]()

    async def fail(self, campaign: str, reason: str) -> Outcome:
        """Holds a campaign until a person has mended what is wrong."""
        return await self._end(campaign, pb.CAMPAIGN_STATE_FAILED, reason)

    async def _end(
        self, campaign: str, state: "pb.CampaignState.ValueType", reason: str
    ) -> Outcome:
        await self._stubs.campaigns.SetCampaignState(
            pb.SetCampaignStateRequest(
                # What still runs, such as a measurement, is nobody's to cancel here.
                name=campaign,
                state=state,
                reason=reason[:2000],
                keep_jobs=True,
            )
        )
        return Outcome(True, reason)

    async def _finish(self, campaign: pb.Campaign, rounds: list[pb.Round], reason: str) -> Outcome:
        """Ends a campaign once every version of it is measured."""
        measured = await self._measure(campaign, rounds)
        waits = any(found.state == pb.ROUND_STATE_EVALUATING for found in rounds)
        if measured.moved or waits:
            return measured
        return await self._end(campaign.name, pb.CAMPAIGN_STATE_FINISHED, reason)

    async def _next_round(
        self, campaign: pb.Campaign, rounds: list[pb.Round], allowed: bool
    ) -> Outcome:
        last = rounds[-1] if rounds else None
        index = record.index_of(last.name) + 1 if last else 1
        if _is_spent(campaign, last):
            reason = f"The budget of {campaign.budget_patches} patches is spent."
            return await self._finish(campaign, rounds, reason)
        enough = stopping.by_metric(campaign.stopping, rounds)
        if enough:
            return await self._finish(campaign, rounds, enough)
        if not allowed:
            return Outcome(False, f"Round {index} waits for a person to open it.")
        # A round that was closed without training has no version of its own.
        base = (last.version or last.base_version) if last else campaign.base_version
        if last is None and campaign.HasField("pretraining"):
            job = await self._pretraining(campaign)
            if record.awaits_pretraining(campaign):
                if job.state not in _ENDED:
                    return _waits_for(job, _LEARNING)
                # Empty where it was cancelled or failed: the campaign goes on without it.
                base = job.result.train_result.version
        await self._stubs.campaigns.CreateRound(
            pb.CreateRoundRequest(parent=campaign.name, index=index, base_version=base)
        )
        return Outcome(True, f"Round {index} was opened.")

    async def _pretraining(self, campaign: pb.Campaign) -> jobs_pb2.Job:
        """The job that trains on raw voxels; started by whoever asks for it first."""
        answer = await self._stubs.training.StartTraining(
            training_pb2.StartTrainingRequest(
                parent=project_of(campaign.name),
                request_id=record.step_id(campaign.name, "pretrain"),
                spec=jobs_pb2.TrainSpec(
                    model=campaign.model,
                    dataset=campaign.dataset,
                    settings=campaign.pretraining,
                    objective=jobs_pb2.TRAINING_OBJECTIVE_RESTORATION,
                    region=campaign.region,
                    campaign=campaign.name,
                ),
            ),
            timeout=_START_SECONDS,
        )
        # The answer to a repeated start is the first one, as old as the job.
        return await record.job_of(self._stubs, answer.job.name)

    async def _ranking(self, campaign: pb.Campaign, rounds: list[pb.Round]) -> Outcome:
        current = rounds[-1]
        if current.rank_job:
            job = await record.job_of(self._stubs, current.rank_job)
            if job.state == jobs_pb2.JOB_STATE_FAILED and EXHAUSTED in job.error.metadata:
                return await self._finish(campaign, rounds, job.error.message)
            return await self._unless_failed(campaign, job, "Candidates are being ranked")
        if uncertainty.is_due(campaign, current):
            job = await uncertainty.refresh(self._stubs, campaign, current)
            # Whoever cancels it wants candidates without it.
            if job.state not in (jobs_pb2.JOB_STATE_SUCCEEDED, jobs_pb2.JOB_STATE_CANCELLED):
                waiting = "The region is being segmented for its uncertainty"
                return await self._unless_failed(campaign, job, waiting)
        answer = await self._stubs.jobs.CreateJob(
            jobs_pb2.CreateJobRequest(
                parent=project_of(campaign.name),
                request_id=record.step_id(current.name, "rank"),
                job=jobs_pb2.Job(rank_spec=jobs_pb2.RankSpec(round=current.name)),
            )
        )
        await self._move(current, pb.ROUND_STATE_RANKING, pb.Round(rank_job=answer.job.name))
        return Outcome(True, f"The ranking {answer.job.name} was started.")

    async def _annotating(
        self, campaign: pb.Campaign, rounds: list[pb.Round], close_round: bool
    ) -> Outcome:
        current = rounds[-1]
        index = record.index_of(current.name)
        proposals = await record.proposals_of(self._stubs, campaign.name, round_index=index)
        unsettled = sum(proposal.state not in _SETTLED for proposal in proposals)
        answered = sum(proposal.state == pb.PROPOSAL_STATE_DONE for proposal in proposals)
        if unsettled == len(proposals) and campaign.stopping.uncertainty_fraction:
            enough = await self._sure(campaign, index, proposals)
            if enough:
                return await self._end(campaign.name, pb.CAMPAIGN_STATE_FINISHED, enough)
        if unsettled and not (close_round and answered):
            waits = f"{unsettled} of {len(proposals)} proposals of round {index} wait for answers"
            if close_round:
                waits += "; answer at least one before closing the round"
            return Outcome(False, f"{waits}.")
        if not answered:
            await self._move(current, pb.ROUND_STATE_DONE, pb.Round())
            return Outcome(True, f"Round {index} ended without training: all was passed over.")
        before = rounds[-2].labelled_patches if len(rounds) > 1 else 0
        spec = jobs_pb2.TrainSpec(base_version=current.base_version, round=current.name)
        warnings: list[str] = []
        if not spec.base_version and campaign.HasField("pretraining"):
            pretraining = await self._pretraining(campaign)
            if pretraining.state not in _ENDED:
                return await self._end_pretraining(campaign, pretraining)
            spec.base_version = pretraining.result.train_result.version
            if not spec.base_version:
                warnings.append(_without(pretraining))
        elif spec.base_version and (before or campaign.base_version):
            # The version that asked for these patches has not learnt from them: an honest measure.
            done = (p for p in proposals if p.state == pb.PROPOSAL_STATE_DONE)
            spec.fresh.extend(proposal.box for proposal in done)
        # Not the round's own count, which was read before its last answer may have come.
        job = await self._start_training(campaign, spec, answered + before, warnings)
        await self._move(
            current,
            pb.ROUND_STATE_TRAINING,
            pb.Round(train_job=job.name, revision=job.train_spec.revision),
        )
        return Outcome(True, f"The training {job.name} on {answered} new patches was started.")

    async def _sure(
        self, campaign: pb.Campaign, index: int, proposals: list[pb.Proposal]
    ) -> str | None:
        """Why nobody needs to label a round, None if it is worth it."""
        ranked = record.first_ranked(campaign)
        if index <= ranked:
            return None
        first = await record.proposals_of(self._stubs, campaign.name, round_index=ranked)
        return stopping.by_uncertainty(campaign.stopping, first, proposals)

    async def _end_pretraining(self, campaign: pb.Campaign, job: jobs_pb2.Job) -> Outcome:
        """The labels are in: a start that is bounded in time ends with what it has."""
        if campaign.pretraining.max_seconds and not job.finishing:
            await self._stubs.jobs.FinishJob(jobs_pb2.FinishJobRequest(name=job.name))
        return _waits_for(job, _LEARNING)

    async def _start_training(
        self,
        campaign: pb.Campaign,
        spec: jobs_pb2.TrainSpec,
        labelled: int,
        warnings: Sequence[str],
    ) -> jobs_pb2.Job:
        dataset = await self._stubs.registry.GetDataset(
            registry_pb2.GetDatasetRequest(name=campaign.dataset)
        )
        settings = spec.settings
        index = record.index_of(spec.round)
        share = labelled / campaign.initial_patches
        if campaign.base_version or share > 1:
            settings.CopyFrom(campaign.round_training)
        else:
            # On labels this few a network has everything to learn, and part of a first batch is
            # gone through as often as all of it.
            settings.CopyFrom(campaign.initial_training)
            settings.steps = max(1, round(settings.steps * share))
        # Another seed in each round, or every fine-tuning would draw the same patches.
        seed = (settings.seed or campaign.seed) + index
        settings.seed = seed & _INT64
        spec.model, spec.dataset = campaign.model, campaign.dataset
        spec.revision = dataset.dataset.revision
        answer = await self._stubs.training.StartTraining(
            training_pb2.StartTrainingRequest(
                parent=project_of(campaign.name),
                request_id=record.step_id(spec.round, "train"),
                spec=spec,
                warnings=warnings,
            ),
            timeout=_START_SECONDS,
        )
        return answer.job

    async def _training(self, campaign: pb.Campaign, rounds: list[pb.Round]) -> Outcome:
        current = rounds[-1]
        job = await record.job_of(self._stubs, current.train_job)
        if job.state != jobs_pb2.JOB_STATE_SUCCEEDED:
            return await self._unless_failed(campaign, job, "The model is being trained")
        version = job.result.train_result.version
        await self._keep_fresh(rounds[:-1], job)
        if not campaign.HasField("evaluation"):
            await self._move(current, pb.ROUND_STATE_DONE, pb.Round(version=version))
            return Outcome(True, f"{version} was made; the round is over.")
        # The next round comes first: people wait for its proposals, nobody for the measuring.
        await self._move(current, pb.ROUND_STATE_EVALUATING, pb.Round(version=version))
        return Outcome(True, f"{version} was made.")

    async def _keep_fresh(self, rounds: list[pb.Round], job: jobs_pb2.Job) -> None:
        """Keeps what a training measured of the version before, with the round that made it."""
        found = job.result.train_result.metrics
        figures = {name: found[name] for name in _FRESH if name in found}
        for made in reversed(rounds):
            if figures and made.version and made.version == job.train_spec.base_version:
                await self._move(made, made.state, pb.Round(metrics=figures))
                return

    async def _evaluating(
        self, campaign: pb.Campaign, rounds: list[pb.Round], open_round: bool
    ) -> Outcome:
        """The newest version is to be measured, and the next round to be opened."""
        first = campaign.stopping.patience or _is_spent(campaign, rounds[-1])
        if open_round and not first:
            return await self._next_round(campaign, rounds, open_round)
        return await self._measure(campaign, rounds)

    async def _measure(self, campaign: pb.Campaign, rounds: list[pb.Round]) -> Outcome:
        """Has the versions of rounds measured, one step for one of them.

        The result itself ends the round, in the registry.
        """
        waited = Outcome(False, "Every version is measured.")
        for current in rounds:
            if current.state != pb.ROUND_STATE_EVALUATING:
                continue
            if not current.evaluate_job:
                return await self._start_evaluation(campaign, current)
            job = await record.job_of(self._stubs, current.evaluate_job)
            if job.state == jobs_pb2.JOB_STATE_CANCELLED:
                await self._move(current, pb.ROUND_STATE_DONE, pb.Round())
                return Outcome(True, f"{current.version} stays unmeasured: a person cancelled it.")
            waited = await self._unless_failed(campaign, job, "The new version is being measured")
            if waited.moved:
                break
        return waited

    async def _start_evaluation(self, campaign: pb.Campaign, current: pb.Round) -> Outcome:
        answer = await self._stubs.inference.StartEvaluation(
            self._evaluation(campaign, current), timeout=_START_SECONDS
        )
        started = pb.Round(evaluate_job=answer.job.name)
        await self._move(current, pb.ROUND_STATE_EVALUATING, started)
        return Outcome(True, f"The evaluation {answer.job.name} of {current.version} was started.")

    @staticmethod
    def _evaluation(
        campaign: pb.Campaign, current: pb.Round
    ) -> inference_pb2.StartEvaluationRequest:
        plan = campaign.evaluation
        return inference_pb2.StartEvaluationRequest(
            parent=project_of(campaign.name),
            request_id=record.step_id(current.name, "evaluate"),
            spec=jobs_pb2.EvaluateSpec(
                version=current.version,
                dataset=campaign.dataset,
                reference_volume=plan.reference_volume,
                box=plan.box if plan.HasField("box") else None,
                round=current.name,
            ),
        )

    async def _unless_failed(
        self, campaign: pb.Campaign, job: jobs_pb2.Job, waiting: str
    ) -> Outcome:
        if job.state not in _ENDED_BADLY:
            return _waits_for(job, waiting)
        advice = (
            f" Try it again with: {command('job retry', job.name)} and then: "
            f"{command('campaign resume', campaign.name)}"
        )
        return await self.fail(campaign.name, f"{_ended_badly(job)}{advice}")

    async def _move(
        self, current: pb.Round, state: "pb.RoundState.ValueType", what: pb.Round
    ) -> None:
        await self._stubs.campaigns.MoveRound(
            pb.MoveRoundRequest(
                name=current.name, expected_state=current.state, state=state, round=what
            )
        )


def _waits_for(job: jobs_pb2.Job, what: str) -> Outcome:
    return Outcome(False, f"{what} ({short(job.name)}).")


def _ended_badly(job: jobs_pb2.Job) -> str:
    """How and why a job ended, in a sentence."""
    why = f": {job.error.message}" if job.error.message else "."
    return f"{short(job.name)} {_ENDED_BADLY[job.state]}{why}"


def _without(pretraining: jobs_pb2.Job) -> str:
    """What whoever uses a version that lacks its start should know."""
    return (
        f"The network began with fresh weights: learning from the raw voxels first came to "
        f"nothing. {_ended_badly(pretraining)}"
    )


def _is_spent(campaign: pb.Campaign, last: pb.Round | None) -> bool:
    """Whether the budget leaves nothing for another round."""
    index = record.index_of(last.name) + 1 if last else 1
    return record.batch_size(campaign, last.labelled_patches if last else 0, index) == 0


def is_final(error: DomainError) -> bool:
    """Whether the same step would be refused again, so that a person has to look."""
    return error.code in ("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "OUT_OF_RANGE")
