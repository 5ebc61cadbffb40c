"""How many files a process may have open: each connection is one."""

import contextlib
import resource


def allow_files(wanted: int) -> int:
    """Raises the limit of open files to a number, as far as this process may; the limit then.

    Shells give 1024 as a rule, and let it be raised far beyond.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # Some systems have a lower limit than the one they name.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return wanted if soft == resource.RLIM_INFINITY else soft
