"""OpenVINO's runtime, imported without its converter and without telemetry.

Why the two names in `sys.modules`: `import openvino` imports its model converter, which reports the import to its maker
over the network and writes a user id into the home folder. The converter is not needed, and no host is to be asked.
"""

import sys
from typing import Any


def openvino() -> Any:
    """The module `openvino`."""
    for name in ("openvino_telemetry", "openvino.tools.ovc"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None makes an import of it fail
    import openvino as module

    return module
