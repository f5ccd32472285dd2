"""Children that hear Ctrl-C, wherever the tests run."""

import signal


def hear_ctrl_c() -> None:
    """For Popen's `preexec_fn`: below a shell's `&` SIGINT is ignored, and a child inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
