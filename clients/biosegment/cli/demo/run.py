"""The demo from beginning to end."""

import time
from pathlib import Path
from typing import Any

from biosegment.cli.demo import files as demo_files
from biosegment.cli.demo import folder, gallery, loop, report, setup, whole
from biosegment.cli.demo.display import Display
from biosegment.cli.demo.expert import Expert
from biosegment.cli.demo.plan import Plan
from biosegment.cli.up.platform import Options, Platform
from biosegment.client import Client
from biosegment.client.errors import FailedPreconditionError


def run(plan: Plan, display: Display) -> dict[str, Any]:
    """Runs the demo and writes its reports; returns the report as plain values.

    Raises:
        DomainError: Something was refused or failed; the message says what.
    """
    began = time.monotonic()
    folder.prepare(plan.out)
    with display.doing("Preparing the files"):
        files = demo_files.prepare(plan)
    kind = "Made a phantom" if plan.image is None else "Read the labels"
    display.say(f"{kind}: {files.labels.parent}.")
    platform = Platform(_options(plan, files))
    with display.doing("Starting the platform"):
        platform.start()
    try:
        display.say(f"The platform runs on {platform.home.folder}.")
        with Client(platform.connection, project=setup.PROJECT) as client:
            story, pictures = _through(client, plan, files, display, began)
    finally:
        with display.doing("Stopping the platform"):
            platform.stop()
    made = report.values(story)
    report.write_json(plan.out / "report.json", made)
    report.write_html(plan.out / "report.html", made, pictures)
    display.say(f"The report is {plan.out / 'report.html'}.")
    return made


def _options(plan: Plan, files: demo_files.Files) -> Options:
    return Options(
        home=plan.out / "platform",
        import_roots=[plan.out, files.image.parent],
        export_roots=[plan.out],
    )


def _through(
    client: Client, plan: Plan, files: demo_files.Files, display: Display, began: float
) -> tuple[report.Story, list[tuple[str, Path]]]:
    scene = setup.import_all(client, plan, files, display)
    setup.start_campaign(client, plan, scene)
    expert = Expert(client, setup.CAMPAIGN, setup.DATASET, scene.truth)
    rounds = loop.live(client, setup.CAMPAIGN, expert, display)
    version = next((r.version for r in reversed(rounds) if r.version), None)
    if version is None:
        raise FailedPreconditionError("The campaign ended without a model.")
    segmented = whole.segment(client, scene, version, display)
    exports = whole.export(client, segmented.volume, plan.out, display)
    with display.doing("Drawing the figures"):
        pictures = gallery.draw(client, plan, scene, rounds, segmented)
    seconds = time.monotonic() - began
    return report.Story(plan, scene, rounds, segmented, exports, seconds), pictures
