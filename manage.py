#!/usr/bin/env python3
"""Django's command line. Works on a bare Python: `up` and `test` first make .venv from the lock (core/bootstrap.py)."""

import os
import sys


def main() -> None:
    """Runs one command. What an old Python cannot read is imported once its version is known."""
    if sys.version_info < (3, 11):  # noqa: UP036  (this file is read by whatever `python3` is)
        sys.exit(
            "Footnote needs Python 3.11 or later; this is {}.{}. Try: python3.11 manage.py up".format(*sys.version_info)
        )
    root = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    sys.path.insert(0, root)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")
    from core import bootstrap

    bootstrap.ensure_environment(sys.argv)
    if sys.argv[1:2] == ["test"]:
        from core.testing import main as test

        sys.exit(test(sys.argv[2:]))
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
