"""What hostile files make a parser do, as functions that the sandbox's tests run in its children."""

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path


def nothing(_: socket.socket) -> None:
    """Ends at once."""


def loop_for_ever(_: socket.socket) -> None:
    while True:
        pass


def sleep_for_ever(_: socket.socket) -> None:
    time.sleep(3600)


def take_four_gigabytes(_: socket.socket) -> None:
    bytearray(4 * 1024**3)


def take_memory_bit_by_bit(_: socket.socket) -> None:
    pieces = []
    while True:
        pieces.append(bytes(1024 * 1024))


def abort(_: socket.socket) -> None:
    os.abort()


def leave_without_a_word(_: socket.socket) -> None:
    os._exit(0)


def fail(_: socket.socket) -> None:
    raise RuntimeError("CANARY: the text of the document")


def fork_bomb(_: socket.socket) -> None:
    while True:
        with contextlib.suppress(BlockingIOError):
            os.fork()


def start_a_program(_: socket.socket) -> None:
    subprocess.run(["/bin/true"], check=True)


def open_a_connection(_: socket.socket) -> None:
    with socket.create_connection(("127.0.0.1", 9), timeout=2):
        pass


def kill_the_server(_: socket.socket) -> None:
    os.kill(os.getppid(), signal.SIGKILL)


def read_a_secret(_: socket.socket) -> None:
    Path("/etc/hostname").read_text()


def write_a_file(_: socket.socket) -> None:
    Path(f"/tmp/footnote-sandbox-{os.getpid()}").write_text("I was here")  # noqa: S108


def talk_without_end(channel: socket.socket) -> None:
    message = json.dumps({"kind": "memory", "text": "x" * 1_000_000}).encode()
    while True:
        channel.sendall(struct.pack(">I", len(message)) + message)


def announce_a_huge_message(channel: socket.socket) -> None:
    channel.sendall(struct.pack(">I", 2**32 - 1))
    while True:
        channel.sendall(b"x" * 1_000_000)


def send_rubbish(channel: socket.socket) -> None:
    channel.sendall(struct.pack(">I", 7) + b"rubbish")


def send_deep_rubbish(channel: socket.socket) -> None:
    body = b"[" * 100_000
    channel.sendall(struct.pack(">I", len(body)) + body)
