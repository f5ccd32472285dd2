"""Which addresses lie outside one's own network. Questions and passages go there only where the operator allowed that very host.

Why at every connection and not once: a name may be pointed elsewhere at any time. Why the resolved address and not the name:
`gpu.example.com` is as often a machine in the next room as one of somebody else's.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from rag.domain.errors import Permanent, Retryable

NOT_AN_ADDRESS = "The language model's address is not a web address. Correct it in the settings."
UNREACHABLE = "The language model cannot be reached: nothing answers at its address. Start it, or check the address."


def host_of(url: str) -> str:
    """The host that a web address names, in lower case; raises `Permanent` where it is no web address."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port  # a port beyond 65,535 raises
    except ValueError:
        raise Permanent(NOT_AN_ADDRESS) from None
    if parts.scheme not in {"http", "https"} or not host:
        raise Permanent(NOT_AN_ADDRESS)
    return host.rstrip(".")


async def refuse_outside(url: str, allowed: Collection[str]) -> None:
    """Raises `Permanent` where `url` leads outside and `allowed` does not name its host; `Retryable` where nobody knows it."""
    host = host_of(url)
    if host not in allowed and not _is_near(host):
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Retryable(UNREACHABLE) from error
        if not found or not all(_is_near(str(entry[4][0])) for entry in found):
            raise outside(host)


def outside(host: str) -> Permanent:
    """What to say of a host outside that nobody allowed."""
    return Permanent(
        f"{host} is outside your network, and nothing is sent there: neither the question nor the passages. To allow it, set "
        f"FOOTNOTE_ALLOW_OUTSIDE_HOST={host}"
    )


def _is_near(host: str) -> bool:
    """Whether this is an address of this machine or of a private network; never for a name."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # Python before 3.13 takes all of these for private
    return not address.is_global and not address.is_multicast
