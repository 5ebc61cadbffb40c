"""``python -m biosegment.gateway``."""

from biosegment.gateway.serve import main

if __name__ == "__main__":
    main()
