"""Serves one model file on this machine: `python -m rag.backends.llms.llamacpp_server --model PATH --port P --key-file F`.

Why a process of its own: llama.cpp uses every core it is given and some gigabytes, and a fault in it must not take the web
server along. It listens on 127.0.0.1 alone, asks every caller for the key, and ends when the process that started it ends.
"""

import argparse
import ctypes
import importlib.util
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rag.backends.llms.llamacpp import MISSING, available, model_info
from rag.domain.errors import Permanent

log = logging.getLogger(__name__)

_CANNOT_START = 2
_WATCH_SECONDS = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until it is told to stop; returns the exit status."""
    parent = os.getppid()  # before the weights are loaded: a parent that ends meanwhile must not be missed
    parser = argparse.ArgumentParser(description="Serves one GGUF model file on 127.0.0.1.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key-file", type=Path, required=True, help="its first line is the key that callers must give")
    parser.add_argument("--context", type=int, default=4096, help="tokens of prompt and answer together")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        server = _serve(
            given.model.expanduser(),
            port=given.port,
            key=_key(given.key_file),
            context=given.context,
            threads=given.threads or os.cpu_count() or 1,
        )
    except Permanent as error:
        sys.stderr.write(f"{error.message}\n")
        return _CANNOT_START
    log.info("Serving %s on %s", given.model.name, server.listening_address)
    while not stopped.wait(_WATCH_SECONDS):
        if os.getppid() != parent:
            log.info("The process that started this one has ended")
            break
    # llama.cpp's threads hold no data that could be lost, and joining one that is reading a prompt can take minutes.
    logging.shutdown()
    os._exit(0)


def _key(path: Path) -> str:
    try:
        key = path.read_text().strip()
    except OSError:
        raise Permanent("The key file of the model server cannot be read.") from None
    if not key:
        raise Permanent("The key file of the model server is empty.")
    return key.splitlines()[0]


def _llama() -> Any:
    """llama.cpp's module. It wants the system's libgomp, which a minimal system lacks; torch brings one of the same name."""
    try:
        import xllamacpp
    except ImportError as error:
        if "libgomp" not in str(error):
            raise
        torch = importlib.util.find_spec("torch")
        folders = torch.submodule_search_locations if torch is not None else None
        bundled = Path(folders[0]) / "lib" / "libgomp.so.1" if folders else Path("libgomp.so.1")
        try:
            ctypes.CDLL(str(bundled), mode=ctypes.RTLD_GLOBAL)
        except OSError:
            raise Permanent("llama.cpp needs the library libgomp. Run: sudo apt install libgomp1") from None
        import xllamacpp
    return xllamacpp


def _serve(model: Path, *, port: int, key: str, context: int, threads: int) -> Any:
    """Loads the model and listens; the server runs for as long as what is returned lives."""
    if not available():
        raise Permanent(MISSING)
    xllamacpp = _llama()
    info = model_info(model)
    wanted = xllamacpp.CommonParams()
    wanted.model.path = str(model)
    wanted.model_alias = {info.name}
    wanted.hostnames = ["127.0.0.1"]
    wanted.port = port
    wanted.api_keys = [key]
    wanted.n_ctx = context
    wanted.n_parallel = 1  # a context per caller would divide the memory; further questions wait in its queue
    wanted.ctx_shift = False
    # It sees that a caller has gone between two batches only: the default of 2,048 reads a whole prompt first.
    wanted.n_batch = wanted.n_ubatch = 256
    wanted.cpuparams.n_threads = threads
    wanted.offline = True
    wanted.ui = False
    wanted.endpoint_slots = True  # says whether it is generating, without a word of the prompt
    wanted.endpoint_props = False
    wanted.verbosity = 0
    try:
        return xllamacpp.Server(wanted)
    except (RuntimeError, ValueError) as error:
        log.warning("llama.cpp: %s", error)
        raise Permanent(
            f"The model file {model.name} cannot be loaded. It may be damaged, or too large for this machine's memory."
        ) from None


if __name__ == "__main__":
    sys.exit(main())
