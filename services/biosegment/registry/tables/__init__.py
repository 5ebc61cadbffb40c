"""The tables, one file per subject; importing this package registers them all."""

from biosegment.registry.tables import annotations, campaigns, catalog, jobs, outbox

__all__ = ["annotations", "campaigns", "catalog", "jobs", "outbox"]
