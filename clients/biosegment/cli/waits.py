"""What a campaign waits for and what to do meanwhile, as lines for people."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from biosegment.v1.campaigns_pb2 import Campaign, Waiting


def waiting_lines(waiting: "Waiting") -> list[str]:
    """The service's sentences: what is waited for, about how long, what to do."""
    lines = [waiting.message]
    if waiting.HasField("left"):
        lines.append(f"About {duration(waiting.left.seconds)} to go.")
    if waiting.advice:
        lines.append(waiting.advice)
    return lines


def started_lines(campaign: "Campaign") -> list[str]:
    """What to know once a campaign was started."""
    from biosegment.client.names import command

    see = f"See how it goes with: {command('campaign show', campaign.name)}"
    return [*waiting_lines(campaign.waiting), see]


def duration(seconds: int) -> str:
    """A time as people say it: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days"
