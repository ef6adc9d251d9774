"""How a script says what a user did wrong: one sentence on stderr, exit code 2, no traceback."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """Something the user can mend. The message names the file, what is wrong with it, and what to do."""


def run(main: Callable[[], None]) -> None:
    """Run a script's `main`; a `UserError`, a full disk or Ctrl-C ends it with one sentence instead of a traceback."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or error
        print(f"error: {where}{reason}; check the path, its permissions and the free space", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped by the user; go on with --resume_from last.pt where the stage has one", file=sys.stderr)
        sys.exit(130)
