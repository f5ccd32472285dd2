"""compose.yaml and Dockerfile: what they promise about safety, read from the files themselves."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.management.commands.up import WORKERS

pytestmark = pytest.mark.once
REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
LASTING = sorted(name for name in SERVICES if name not in {"setup", "model"})


def test_the_services_are_there() -> None:
    assert LASTING == ["db", "ollama", "redis", "web", "worker", "worker-embed"]


def test_only_web_publishes_a_port_and_on_loopback_unless_told() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["web"]
    assert SERVICES["web"]["ports"] == ["${FOOTNOTE_PUBLISH:-127.0.0.1:8000}:8000"]


def test_only_web_can_reach_out() -> None:
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    reaching_out = [name for name, service in SERVICES.items() if "outside" in service["networks"]]
    assert reaching_out == ["web", "model"]
    assert SERVICES["model"]["profiles"] == ["models"]  # started by hand alone
    assert all(service["networks"] for service in SERVICES.values())


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_service_can_gain_rights_or_write_its_root(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert "privileged" not in service
    assert "cap_add" not in service
    assert not any(".sock" in str(volume) for volume in service.get("volumes", []))


def test_no_secret_is_in_a_variable() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|KEY", name):
                assert name.endswith("_FILE"), name
                assert str(value).removeprefix("/run/secrets/") in service["secrets"]
            assert not re.search(r"://[^/@]+:[^/@]+@", str(value)), name
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())


def test_state_is_in_named_volumes() -> None:
    volumes = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    used = {re.sub(r"^\$\{\w+:-(\w+)\}", r"\1", volume).partition(":")[0] for volume in volumes}
    assert used == set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", LASTING)
def test_every_lasting_service_is_watched_and_comes_back(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    if name == "web":
        assert "HEALTHCHECK" in DOCKERFILE
        assert "healthcheck" not in SERVICES[name]
    else:
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_web_and_workers_wait_for_setup_and_setup_for_the_database() -> None:
    for name in ("web", "worker", "worker-embed"):
        assert SERVICES[name]["depends_on"]["setup"] == {"condition": "service_completed_successfully"}
    assert SERVICES["setup"]["depends_on"]["db"] == {"condition": "service_healthy"}


def test_the_queue_is_kept_and_never_evicted() -> None:
    command = SERVICES["redis"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert command[command.index("--appendonly") + 1] == "yes"


def test_every_queue_has_one_worker_and_beat_runs_once() -> None:
    commands = [SERVICES[name]["command"] for name in ("worker", "worker-embed")]
    assert [command[command.index("-Q") + 1] for command in commands] == list(WORKERS.values())
    assert sum("-B" in command for command in commands) == 1


def test_images_are_pinned() -> None:
    for service in SERVICES.values():
        assert re.search(r":[^:/]*\d", service["image"]), service["image"]
    assert all(re.search(r":[\d.]+-", image) for image in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))


def test_the_image_runs_as_nobody_special_and_stops_in_order() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert "\nUSER 10001:10001\n" in last
    assert "\nSTOPSIGNAL SIGTERM\n" in last
    assert not re.search(r"(?i)password|secret|token(?!izers)", DOCKERFILE)


def test_the_image_installs_from_the_locks_alone() -> None:
    assert "RUN python core/bootstrap.py\n" in DOCKERFILE
    assert not re.search(r"pip install|curl|wget", DOCKERFILE)
    # Python comes from the locks; what is no Python package comes from Debian.
    packages = re.findall(r"apt-get install[^&]*", DOCKERFILE)
    assert [set(re.findall(r"(?<!-)\b(?:tesseract|libreoffice)-[\w-]+", text)) for text in packages] == [
        {
            "tesseract-ocr",
            "tesseract-ocr-rus",
            "tesseract-ocr-ukr",
            "tesseract-ocr-ell",
            "tesseract-ocr-ara",
            "tesseract-ocr-heb",
            "tesseract-ocr-kor",
            "libreoffice-writer-nogui",
            "libreoffice-impress-nogui",
        }
    ]


def test_the_build_gets_the_source_and_nothing_private() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    assert not {"!data", "!.env", "!secrets", "!.git"} & set(lines)


def test_a_folder_is_watched_only_where_one_was_named() -> None:
    environment = SERVICES["worker"]["environment"]
    assert environment["FOOTNOTE_WATCH_ROOT"] == "${FOOTNOTE_WATCH_FOLDER:+/inbox}"
    for name in ("web", "worker", "worker-embed"):
        assert "${FOOTNOTE_WATCH_FOLDER:-inbox}:/inbox" in SERVICES[name]["volumes"]


def test_every_variable_that_is_passed_on_is_one_that_footnote_reads() -> None:
    known = (REPOSITORY / "docs" / "settings.md").read_text()
    for name in SERVICES["worker"]["environment"]:
        assert f"`{name.removesuffix('_FILE')}`" in known, name
