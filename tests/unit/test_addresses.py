"""Nothing outside one's own network is connected to, unless the operator allowed that very host."""

import socket
from typing import Any

import pytest

from rag.backends.llms.addresses import host_of, refuse_outside
from rag.backends.llms.wire import client, failures
from rag.domain.errors import Permanent, Retryable

PUBLIC = "93.184.216.34"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What names lead to, for this test alone."""
    known: dict[str, list[str]] = {}

    def look_up(host: str, port: object, *args: Any, **kwargs: Any) -> list[tuple[Any, ...]]:
        if host not in known:
            raise socket.gaierror("no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:11434", "http://[::1]:8080/v1", "http://10.0.0.7", "https://192.168.1.4:8000", "http://172.16.9.9",
        "http://169.254.1.1", "http://100.64.0.9", "http://[fd12::7]", "http://[::ffff:10.0.0.1]",
    ],
)  # fmt: skip
async def test_this_machine_and_private_networks_are_near(url: str) -> None:
    await refuse_outside(url, ())


@pytest.mark.parametrize(
    "url", [f"http://{PUBLIC}", "https://[2606:4700::1111]", f"http://[::ffff:{PUBLIC}]", "http://224.0.0.1"]
)
async def test_public_addresses_are_outside(url: str, names: dict[str, list[str]]) -> None:
    names.update({PUBLIC: [PUBLIC], "2606:4700::1111": [PUBLIC], f"::ffff:{PUBLIC}": [PUBLIC], "224.0.0.1": [PUBLIC]})
    with pytest.raises(Permanent, match="outside your network"):
        await refuse_outside(url, ())


async def test_a_name_is_where_it_leads_to(names: dict[str, list[str]]) -> None:
    names["gpu.example.com"] = ["10.1.2.3"]
    await refuse_outside("http://gpu.example.com:11434", ())
    names["gpu.example.com"] = ["10.1.2.3", PUBLIC]  # one way out is enough
    with pytest.raises(Permanent, match=r"FOOTNOTE_ALLOW_OUTSIDE_HOST=gpu\.example\.com"):
        await refuse_outside("http://gpu.example.com:11434", ())
    with pytest.raises(Retryable, match="cannot be reached"):
        await refuse_outside("http://unknown.example.com", ())


async def test_only_the_very_host_that_was_allowed_is_connected_to(names: dict[str, list[str]]) -> None:
    names.update({"api.example.com": [PUBLIC], "stream.example.com": [PUBLIC]})
    await refuse_outside("https://API.example.com./v1", ("api.example.com",))
    for other in (
        "https://stream.example.com",
        "https://example.com.api.example.com.evil.example",
        f"https://{PUBLIC}",
    ):
        names.setdefault("example.com.api.example.com.evil.example", [PUBLIC])
        names.setdefault(PUBLIC, [PUBLIC])
        with pytest.raises(Permanent, match="outside your network"):
            await refuse_outside(other, ("api.example.com",))


async def test_no_socket_is_opened_to_a_host_outside(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    names["model.example.com"] = [PUBLIC]
    opened: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: opened.append(address))
    monkeypatch.setattr(socket.socket, "connect_ex", lambda self, address: opened.append(address))
    with pytest.raises(Permanent, match="nothing is sent there"), failures():
        async with client("https://model.example.com") as http:
            await http.get("/v1/models")
    assert opened == []


@pytest.mark.parametrize("url", ["", "gpu:11434", "ftp://gpu", "http://", "http://gpu:99999", "file:///etc/passwd"])
def test_what_is_no_web_address_is_said_so(url: str) -> None:
    with pytest.raises(Permanent, match="not a web address"):
        host_of(url)
