"""The whole flow on a machine without a network: `python -m tests.flows.offline FOLDER`, inside `unshare -rn`.

Brings the loopback up, proves that nothing else is there, and then starts, uploads, asks and reads; prints the answer's page.
"""

import fcntl
import socket
import struct
import sys
from pathlib import Path

from tests.installed import Installed, Person
from tests.pdfs import pdf
from tests.site import new_collection

FACT = "The Kestrel boiler in the cellar is descaled every 14 weeks by a licensed plumber."
QUESTION = "How often is the boiler descaled?"
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1


def loopback_up() -> None:
    """What `ip link set lo up` does, where that tool is missing."""
    with socket.socket() as lo:
        flags = struct.unpack("16sh14x", fcntl.ioctl(lo, _GET_FLAGS, struct.pack("16sh14x", b"lo", 0)))[1]
        fcntl.ioctl(lo, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))


def interfaces() -> list[str]:
    return [name for _number, name in socket.if_nameindex()]


def main(folder: Path) -> None:
    loopback_up()
    assert interfaces() == ["lo"], interfaces()
    with Installed(folder / "data", samples=False) as site, Person(site.url) as person:
        person.upload(new_collection(person, "House"), "house-rules.pdf", pdf("House rules.", f"Cellar.\n{FACT}"))
        person.wait_until_read(120)
        print(dict(person.ask(QUESTION))["done"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
