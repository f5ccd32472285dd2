"""Nothing that Footnote does needs a network: the whole flow where there is none but the machine's own loopback."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.offline import FACT
from tests.installed import REPOSITORY

pytestmark = [pytest.mark.once, pytest.mark.timeout(400)]


def test_upload_question_and_answer_work_without_a_route_to_anywhere(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let a user make a network namespace")
    command = ["unshare", "-rn", sys.executable, "-m", "tests.flows.offline", str(tmp_path)]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=350, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f'<span class="quote__text">{FACT}</span>' in run.stdout
    logs = "\n".join(path.read_text() for path in (tmp_path / "data" / "logs").glob("*.log"))
    assert "Traceback" not in logs, logs
