"""Small real wheels and locks, so that installing and bundling are tested without an index and within seconds."""

import base64
import hashlib
import zipfile
from pathlib import Path


def make_wheel(folder: Path, name: str, version: str = "1.0", *, licence: str = "MIT") -> Path:
    """A pure wheel with one module that knows its version."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nLicense-Expression: {licence}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{path},{_digest(text)},{len(text)}" for path, text in files.items()]
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, text in files.items():
            wheel.writestr(inside, text)
        wheel.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,"]) + "\n")
    return path


def lock_line(wheel: Path) -> str:
    """The lock's entry for a wheel."""
    name, version, *_ = wheel.name.split("-")
    return f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def _digest(text: str) -> str:
    raw = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def write_locks(root: Path, locks: dict[str, list[Path]]) -> None:
    """Writes `requirements.lock` and core/locks/*.lock below `root`."""
    (root / "core" / "locks").mkdir(parents=True, exist_ok=True)
    for name, wheels in locks.items():
        path = root / "requirements.lock" if name == "requirements" else root / "core" / "locks" / f"{name}.lock"
        path.write_text("".join(lock_line(wheel) for wheel in wheels))
