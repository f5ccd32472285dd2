"""One running installation for all tests that drive it from outside: `manage.py up` with its samples and a scripted Ollama.

Starting costs ten to thirty seconds, so it is shared; a test leaves it as it found it, answering with exact words.
"""

import re
from collections.abc import Callable, Iterator

import pytest

from tests.installed import Installed, Person
from tests.scripted_ollama import GO_ON, ScriptedOllama

SAMPLES = "Samples"
UseModel = Callable[[str], str]


def new_collection(person: Person, name: str) -> str:
    """Makes a team and a collection of that name, as on a new installation without samples; the collection's address."""
    person.post("/people/teams/", {"name": name})
    team = re.search(rf'<option value="(\d+)">{re.escape(name)}</option>', person.page("/collections/"))
    assert team is not None, "whoever makes a team manages it"
    person.post("/collections/", {"name": name, "description": "", "team": team[1]})
    return person.collection()


@pytest.fixture(scope="session")
def ollama() -> Iterator[ScriptedOllama]:
    """The Ollama of the shared installation; its moods are its models."""
    with ScriptedOllama() as server:
        yield server


@pytest.fixture(scope="session")
def site(ollama: ScriptedOllama, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """The shared installation, with every sample document read."""
    # A server that says that it is full is asked again for so long.
    patience = {"FOOTNOTE_FIRST_TOKEN_SECONDS": "20"}
    folder = tmp_path_factory.mktemp("site") / "data"
    with Installed(folder, ollama_url=ollama.url, environment=patience) as running:
        with Person(running.url) as person:
            person.wait_until_read()
        yield running


@pytest.fixture(scope="session")
def person(site: Installed) -> Iterator[Person]:
    """The administrator of the shared installation, who also manages the samples, speaking HTTP."""
    with Person(site.url) as signed_in:
        yield signed_in


@pytest.fixture(scope="session")
def sample_collection(person: Person) -> str:
    """The id of the samples; other tests may have made more collections."""
    found = re.search(
        rf'href="/collections/([0-9a-f-]{{36}})/">.*{re.escape(SAMPLES)}</a>', person.page("/collections/")
    )
    assert found is not None, "the samples are loaded"
    return found[1]


@pytest.fixture
def use_model(person: Person) -> Iterator[UseModel]:
    """Makes the scripted Ollama's model of this mood the one that answers, until the test ends; its name."""

    def use(mood: str) -> str:
        name = f"scripted-{mood}:latest"
        page = person.post("/models/choose/", {"name": name})
        assert f"{name} answers from now on." in page
        return name

    GO_ON.clear()
    yield use
    GO_ON.set()  # nobody waits for a test that is over
    person.post("/models/choose/", {"name": ""})
