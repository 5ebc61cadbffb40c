"""Drafts a migration from the difference between tables and schema (for developers).

``python -m biosegment.registry.revision "what changes"``
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from alembic import command

from biosegment.registry.migrate import config, upgrade


def main() -> None:
    """Writes the draft beside the other migrations."""
    if len(sys.argv) != 2:
        sys.stderr.write('usage: python -m biosegment.registry.revision "what changes"\n')
        raise SystemExit(2)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite+aiosqlite:///{Path(folder) / 'draft.db'}"
        asyncio.run(upgrade(url))
        command.revision(config(url), sys.argv[1], autogenerate=True)


if __name__ == "__main__":
    main()
