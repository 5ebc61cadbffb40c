"""A campaign that runs itself over a restart of the whole platform ends with the same rounds."""

from pathlib import Path

import pytest
import tifffile

from biosegment.cli.up.platform import Options, Platform
from biosegment.client import Client
from biosegment.client.geometry import Box
from biosegment.phantom import generate
from biosegment.v1 import campaigns_pb2, jobs_pb2
from tests.chaos import campaign as chaos_campaign
from tests.integration.conftest import wait_until

SHAPE = (6, 160, 160)
VOXEL = (45.0, 9.2, 9.2)
FINISHED = campaigns_pb2.CAMPAIGN_STATE_FINISHED
RAW, LABELS = "raw.tif", "labels.tif"


def prepare(client: Client, folder: Path, name: str) -> None:
    """A data set, a model and a campaign of one name; the same choices under every name."""
    client.put_label_class(1, "mitochondria")
    client.wait(client.import_volume(folder / RAW, dataset=name, voxel_size=VOXEL))
    client.create_model(
        name,
        classes=[0, 1],
        architecture="unet2d-quarter",
        parameters={"feature_maps": 4, "levels": 2},
    )
    training = jobs_pb2.TrainingSettings(steps=12, batch_size=2, checkpoint_steps=4)
    client.start_campaign(
        name,
        dataset=name,
        model=name,
        strategy="entropy",
        patch=(1, 32, 32),
        initial_patches=3,
        batch_patches=2,
        pool_patches=30,
        budget_patches=9,
        skip_pretraining=True,
        initial_training=training,
        round_training=training,
        seed=11,
        automatic=True,
    )


def answer(client: Client, folder: Path, name: str) -> None:
    """Answers every proposal there is."""
    truth = tifffile.imread(folder / LABELS)
    for proposal in client.claim(name, "tester", count=10):
        box = Box.from_proto(proposal.box)
        client.commit(
            name, box, truth[box.slices], proposal=proposal.name, claimant="tester", tool="test"
        )


def history(client: Client, name: str) -> list[tuple[str, str]]:
    """Every proposal with its round, best first."""
    return [
        (proposal.round.rpartition("/")[2], str(Box.from_proto(proposal.box)))
        for proposal in client.proposals(name)
    ]


@pytest.mark.slow
def test_a_restart_in_every_round_changes_nothing(tmp_path: Path) -> None:
    phantom = generate(shape=SHAPE, voxel_size=VOXEL, seed=5)
    tifffile.imwrite(tmp_path / RAW, phantom.raw)
    tifffile.imwrite(tmp_path / LABELS, phantom.labels)
    options = Options(
        home=tmp_path / "home",
        import_roots=[tmp_path],
        export_roots=[tmp_path],
        environment={"BIOSEGMENT_LEASE_SECONDS": "4", "BIOSEGMENT_RECONCILE_SECONDS": "0.5"},
    )
    with Platform(options) as platform, Client(platform.connection) as client:
        prepare(client, tmp_path, "calm")

        def calm_ended() -> bool:
            answer(client, tmp_path, "calm")
            return client.campaign("calm").state == FINISHED

        wait_until(calm_ended, 240)
        prepare(client, tmp_path, "restarted")
        expected = history(client, "calm")
    for _ in range(20):
        with Platform(options) as platform, Client(platform.connection) as client:
            began = len(client.rounds("restarted"))

            def moved(client: Client = client, began: int = began) -> bool:
                answer(client, tmp_path, "restarted")
                state = client.campaign("restarted").state
                return state == FINISHED or len(client.rounds("restarted")) > began

            wait_until(moved, 120)
            if client.campaign("restarted").state == FINISHED:
                assert history(client, "restarted") == expected
                assert len(client.rounds("restarted")) == len(client.rounds("calm")) == 4
                return
            # The next round is being ranked or waits for answers: the platform goes down now.
    pytest.fail("the campaign did not end")


@pytest.mark.slow
def test_everything_killed_in_the_middle_of_every_phase_changes_nothing(tmp_path: Path) -> None:
    phantom = generate(shape=(6, 256, 256), voxel_size=VOXEL, seed=5)
    plan = chaos_campaign.Plan(raw=phantom.raw, labels=phantom.labels, pool=60, steps=20)
    runs = []
    for name, phases in (("calm", ()), ("killed", chaos_campaign.PHASES)):
        (tmp_path / name).mkdir()
        runs.append(chaos_campaign.live(plan, tmp_path / name, phases))
    calm, killed = runs
    assert sorted(killed.killed) == sorted(chaos_campaign.PHASES)
    # The first batch comes in two.
    assert len(calm.history["rounds"]) == plan.rounds + 1
    assert chaos_campaign.differences(calm.history, killed.history) == []
