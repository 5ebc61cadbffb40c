"""What the command line says of campaigns: what is waited for, and what was stopped."""

import json

import pytest
from tests.cli.test_cli_commands import Run, change
from tests.client.sdk_platform import JOB, InMemoryPlatform

from biosegment.cli.waits import duration
from biosegment.v1 import acquisition_pb2, campaigns_pb2, jobs_pb2, registry_pb2


@pytest.fixture
def waits(platform: InMemoryPlatform) -> campaigns_pb2.Waiting:
    made = campaigns_pb2.Waiting(
        message="The training goes on.", advice="Watch it with: biosegment job watch train-1"
    )
    made.left.FromSeconds(400)
    platform.campaigns.waiting = made
    return made


def test_where_there_is_nothing_to_label_the_service_says_why(run: Run, waits: object) -> None:
    answer = run("campaign", "claim", "c")
    assert answer.exit_code == 0
    assert answer.stdout == ""
    assert answer.stderr.splitlines() == [
        "There is nothing to label now. The training goes on.",
        "About 7 min to go.",
        "Watch it with: biosegment job watch train-1",
    ]
    assert json.loads(run("--json", "campaign", "claim", "c").stdout) == []


def test_a_campaign_shows_what_it_waits_for(run: Run, waits: object) -> None:
    shown = run("campaign", "show", "c").stdout
    assert shown.splitlines()[-3:] == [
        "The training goes on.",
        "About 7 min to go.",
        "Watch it with: biosegment job watch train-1",
    ]
    found = json.loads(run("--json", "campaign", "show", "c").stdout)
    assert found["waiting"]["left"] == "400s"


def test_an_iou_without_a_reference_says_how_it_was_measured(
    platform: InMemoryPlatform,
    run: Run,
    waits: object,
) -> None:
    assert "fresh_iou is" not in run("campaign", "show", "c").stdout
    platform.campaigns.metrics = {"fresh_iou": 0.41, "fresh_patches": 10.0}
    shown = run("campaign", "show", "c").stdout
    assert "fresh_iou=0.41 fresh_patches=10" in shown
    assert "before they were learnt from" in shown


def test_pausing_says_how_to_go_on(run: Run, waits: object) -> None:
    assert "Watch it with" in run("campaign", "pause", "c").stderr


def test_stopping_says_what_was_cancelled(platform: InMemoryPlatform, run: Run) -> None:
    stopped = run("campaign", "stop", "c", "--reason", "Enough.")
    assert stopped.stderr == f"Cancelled {JOB.rpartition('/')[2]}.\n"
    (request,) = platform.seen.of(campaigns_pb2.SetCampaignStateRequest)
    assert (request.reason, request.keep_jobs) == ("Enough.", False)
    assert json.loads(run("--json", "campaign", "stop", "c").stdout)["cancelled_jobs"] == [JOB]


def test_minutes_and_steps_reach_the_service(platform: InMemoryPlatform, run: Run) -> None:
    base = ["campaign", "start", "c", "--dataset", "liver", "--model", "m"]
    for more in (
        [],
        ["--pretrain-minutes", "2.5", "--train-minutes", "3"],
        ["--pretrain-steps", "50", "--round-steps", "7"],
        ["--pretrain-steps", "0"],
    ):
        assert run(*base, *more).exit_code == 0
    plain, minutes, steps, none = (
        request.campaign for request in platform.seen.of(acquisition_pb2.StartCampaignRequest)
    )
    assert not plain.HasField("pretraining")
    assert not plain.skip_pretraining
    assert (minutes.pretraining.max_seconds, minutes.pretraining.steps) == (150, 0)
    assert minutes.initial_training.max_seconds == minutes.round_training.max_seconds == 180
    assert (steps.pretraining.max_seconds, steps.pretraining.steps) == (0, 50)
    assert steps.round_training.steps == 7
    assert none.skip_pretraining
    assert not none.HasField("pretraining")


def test_a_model_that_names_no_network_gets_one_and_is_told(
    platform: InMemoryPlatform,
    run: Run,
) -> None:
    made = run("model", "create", "mito", "--class", "0", "--class", "1")
    assert made.exit_code == 0
    (request,) = platform.seen.of(registry_pb2.CreateModelRequest)
    assert request.model.architecture == "unet2d-quarter"
    assert "unet2d-quarter suits this machine" in made.stderr
    assert "--architecture unet2d" in made.stderr
    named = run(
        "model", "create", "big", "--class", "0", "--class", "1", "--architecture", "unet2d"
    )
    assert "suits this machine" not in named.stderr


def test_a_job_that_went_smoothly_does_not_look_like_failures(
    platform: InMemoryPlatform,
    run: Run,
) -> None:
    change(platform, state=jobs_pb2.JOB_STATE_SUCCEEDED, attempt=3, max_failures=5)
    shown = run("job", "show", JOB).stdout
    tries = [line.split() for line in shown.splitlines() if line.startswith("tries")]
    assert tries == [["tries_failed", "0"]]
    for text in (shown, run("job", "watch", JOB).stdout):
        assert "attempt" not in text
        assert "max_failures" not in text
    # Programs get what is recorded.
    assert json.loads(run("--json", "job", "show", JOB).stdout)["max_failures"] == 5


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (89, "89 s"), (400, "7 min"), (5400, "1 h 30 min"), (4_000_000, "46 days")],
)
def test_times_are_said_as_people_say_them(seconds: int, said: str) -> None:
    assert duration(seconds) == said
