"""``biosegment``, and ``python -m biosegment.cli``."""

import os
import sys


def main() -> None:
    """Runs the command line. What nobody foresaw ends in a sentence too, not in a traceback."""
    from biosegment.cli.app import app

    try:
        app(prog_name="biosegment")
    except Exception as error:
        if os.environ.get("BIOSEGMENT_TRACEBACK"):
            raise
        sys.stderr.write(
            f"Error: unexpected failure ({type(error).__name__}: {error}). "
            "Set BIOSEGMENT_TRACEBACK=1 to see where.\n"
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
