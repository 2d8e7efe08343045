"""Where the command begins: Ctrl-C is heard before anything is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line of this process."""
    try:
        from gedanken.cli import main as run
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
