"""`make reset`: deletes the data of `make run`, unless it is running."""

import shutil
import sys

from dev.run import VAR
from dev.server import ServerError, held_alone


def main() -> None:
    """Delete var/ with all that is in it."""
    if not VAR.exists():
        print("There is no var/.")
        return
    try:
        with held_alone(VAR / "postgres"), held_alone(VAR / "redis"):
            shutil.rmtree(VAR)
    except ServerError as error:
        sys.exit(str(error))
    print("Deleted var/ with all its data.")


if __name__ == "__main__":
    main()
