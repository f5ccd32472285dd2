"""A real installation in a folder of its own: `manage.py up` as a person starts it, and a signed-in person's way through it.

For measurements and pictures; the tests of `up` itself are in tests/flows/test_up.py.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import httpx

REPOSITORY = Path(__file__).resolve().parents[1]
NAME, PASSWORD = "admin", "correct horse battery"
_OURS = ("FOOTNOTE_", "REDIS_", "DATABASE_", "DJANGO_")
_START_SECONDS = 300
_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Installed:
    """`manage.py up` on the data folder `data`. Use `with`, or `start` and `stop`, as often as you like.

    `samples`: whether the first start loads the sample collection; `environment`: more variables, by name.
    """

    def __init__(
        self,
        data: Path,
        *,
        ollama_url: str = "http://127.0.0.1:9",
        samples: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.data = data
        self._samples, self._more = samples, dict(environment or {})
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._ollama_url = ollama_url  # nobody listens on port 9
        self._process: subprocess.Popen[str] | None = None
        self._lines: list[str] = []

    def __enter__(self) -> "Installed":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process number of `up` itself."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether `up` has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> float:
        """Starts it and waits until it says that it is ready; the seconds that this took."""
        started = time.perf_counter()
        self._lines = []
        options = [] if self._samples else ["--no-samples"]
        self._process = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--port", str(self.port), *options],
            cwd=REPOSITORY,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        while not any("Footnote is ready" in line for line in self._lines):
            if self._process.poll() is not None or time.perf_counter() - started > _START_SECONDS:
                raise RuntimeError("Footnote did not start:\n" + "\n".join(self._lines))
            time.sleep(0.02)
        return time.perf_counter() - started

    def environment(self) -> dict[str, str]:
        """This process's environment without anything of another installation."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        return kept | {
            "FOOTNOTE_DATA": str(self.data),
            "FOOTNOTE_ADMIN_NAME": NAME,
            "FOOTNOTE_ADMIN_PASSWORD": PASSWORD,
            "FOOTNOTE_OLLAMA_URL": self._ollama_url,
            **self._more,
        }

    def log(self) -> str:
        """What it has said, then what each of its parts has written so far."""
        files = sorted((self.data / "logs").glob("*.log"))
        return "\n".join([*self._lines, *(f"\n{file.name}\n{file.read_text(errors='replace')}" for file in files)])

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            self._lines.extend(line.rstrip() for line in lines)

    def stop(self) -> None:
        """Asks it to end, as a service manager does, and waits until everything has stopped."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)  # Ctrl-C is ignored below a shell's &
            self._process.wait(90)


class Person:
    """Somebody signed in, speaking HTTP as the browser does."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=120, trust_env=False, follow_redirects=True)
        page = self._http.get("/sign-in/").raise_for_status()
        found = _TOKEN.search(page.text)
        assert found is not None, "the sign-in page has no form"
        form = {"csrfmiddlewaretoken": found[1], "login": NAME, "password": PASSWORD}
        self._http.post("/sign-in/", data=form).raise_for_status()
        self._token = self._form_token()

    def __enter__(self) -> "Person":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def _form_token(self) -> str:
        found = _TOKEN.search(self.page("/"))
        assert found is not None, "nobody is signed in"
        return found[1]

    def credentials(self) -> dict[str, str]:
        """The headers with which another client posts as this person."""
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self._http.cookies.jar)
        return {"Cookie": cookies, "X-CSRFToken": self._token}

    def page(self, path: str) -> str:
        """The page's HTML."""
        return self._http.get(path).raise_for_status().text

    def post(self, path: str, data: Mapping[str, str], *, htmx: bool = False) -> str:
        """What the form is answered with."""
        headers = {"HX-Request": "true"} if htmx else {}
        form = {"csrfmiddlewaretoken": self._token, **data}
        return self._http.post(path, data=form, headers=headers).raise_for_status().text

    def upload(self, path: str, name: str, content: bytes) -> None:
        """One file into the collection at `path`."""
        form = {"csrfmiddlewaretoken": self._token}
        answer = self._http.post(f"{path}upload/", data=form, files={"files": (name, content)})
        answer.raise_for_status()

    def try_upload(self, path: str, name: str, content: bytes) -> str | None:
        """The sentence with which the file is refused, or None when it is taken. `name` may hold folders."""
        address, sent, piece = f"{path}uploads/", 0, 8 * 1024 * 1024
        while True:
            headers = {
                "Tus-Resumable": "1.0.0",
                "Content-Type": "application/offset+octet-stream",
                "X-CSRFToken": self._token,
            }
            if sent == 0:
                path64 = b64encode(name.encode()).decode()
                headers |= {"Upload-Length": str(len(content)), "Upload-Metadata": f"path {path64}"}
            headers |= {"Upload-Offset": str(sent)}
            method = "PATCH" if sent else "POST"
            answer = self._http.request(method, address, content=content[sent : sent + piece], headers=headers)
            if not answer.is_success:
                return str(answer.json()["message"])
            address, sent = answer.headers.get("Location", address), sent + piece
            if sent >= len(content):
                return None

    def open_import(self, path: str, announced: int) -> str:
        """The id of a new import of so many files into the collection at `path`."""
        form = {"csrfmiddlewaretoken": self._token, "announced": str(announced)}
        return str(self._http.post(f"{path}imports/", data=form).raise_for_status().json()["id"])

    def send(self, path: str, name: str, content: bytes, *, batch: str = "") -> None:
        """One file into the collection at `path`, in one request, as the page sends small ones. `name` may hold folders."""
        facts = {"filename": name.rpartition("/")[2], "path": name} | ({"batch": batch} if batch else {})
        told = ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in facts.items())
        headers = {
            "Tus-Resumable": "1.0.0",
            "Upload-Length": str(len(content)),
            "Upload-Metadata": told,
            "Content-Type": "application/offset+octet-stream",
            "X-CSRFToken": self._token,
        }
        self._http.post(f"{path}uploads/", content=content, headers=headers).raise_for_status()

    def ask(self, question: str, *, collection: str = "") -> Iterator[tuple[str, str]]:
        """The events of the answer, (name, data), from the moment of the post to `done`.

        `collection` is the id of the only one that is asked; without it all are.
        """
        form = {"question": question} | ({"collections": collection} if collection else {})
        thread = self.post("/", form, htmx=True)
        found = re.search(r'data-stream="([^"]+)"', thread)
        assert found is not None, "the answer has no stream"
        with self._http.stream("GET", found[1], headers={"Accept": "text/event-stream"}) as response:
            name, data = "", []
            for line in response.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    data.append(line.removeprefix("data: "))
                elif not line and name:
                    yield name, "\n".join(data)
                    if name == "done":
                        return
                    name, data = "", []

    def collection(self) -> str:
        """The address of the first collection."""
        found = re.search(r'href="(/collections/[0-9a-f-]{36}/)"', self.page("/collections/"))
        assert found is not None, "there is no collection"
        return found[1]

    def wait_until_read(self, seconds: float = 600) -> None:
        """Returns when no document of the first collection is in work any more."""
        deadline = time.monotonic() + seconds
        while 'class="stage"' in self.page(self.collection()):
            assert time.monotonic() < deadline, "the documents are still being read"
            time.sleep(0.5)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
