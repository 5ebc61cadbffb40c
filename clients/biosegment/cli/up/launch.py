"""Becomes another program that cannot outlive the process that started it.

    python launch.py PARENT_PID PROGRAM ARGUMENT...

On Linux the kernel is asked to kill this process when its parent's thread ends, which also holds
after the parent was killed with SIGKILL; the request survives the exec. Elsewhere the program is
simply executed. Run as a file, isolated, so that it starts fast.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ties this process to its parent, then executes the program."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # The parent may have died before the request was made.
        if os.getppid() != parent:
            raise SystemExit(1)
    os.execvp(command[0], command)  # noqa: S606 - no shell wanted


if __name__ == "__main__":
    main()
