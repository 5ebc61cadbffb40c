"""``biosegment``, and ``python -m biosegment.cli``."""


def main() -> None:
    """Runs the command line."""
    from biosegment.cli.app import app

    app(prog_name="biosegment")


if __name__ == "__main__":
    main()
