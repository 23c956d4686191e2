"""What can be known of docker/ without an engine."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKER = REPOSITORY / "docker"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(DOCKER / "compose.yaml")
    return loaded


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, arguments), continued lines joined."""
    text = (DOCKER / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def test_every_service_has_a_healthcheck_or_ends_by_itself(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        check = service["healthcheck"]
        assert check.get("disable") or {"test", "interval", "timeout", "retries"} <= check.keys(), name
        assert not check.get("disable") or service["restart"] == "no", name


def test_services_wait_for_healthy_ones_only(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}, name
            assert not services[other]["healthcheck"].get("disable"), (name, other)


def test_image_tags_are_pinned(compose: dict[str, Any], instructions: list[tuple[str, str]]) -> None:
    images = [service["image"] for service in compose["services"].values()]
    images += [rest.split()[0] for name, rest in instructions if name == "FROM"]
    for image in images:
        assert re.fullmatch(r"[a-z]+:\d+\.\d+(\.\d+)?(-[a-z]+)*", image), image


def test_volumes_and_paths_exist(compose: dict[str, Any], instructions: list[tuple[str, str]]) -> None:
    created = " ".join(rest for name, rest in instructions if name == "RUN")
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            source, target = volume.split(":")
            assert source in compose["volumes"], name
            assert name == "postgres" or target in created, f"{target} must belong to the user that {name} runs as"
        if build := service.get("build"):
            assert (DOCKER / build["context"]).resolve() == REPOSITORY
            assert (REPOSITORY / build["dockerfile"]).is_file()
    for pipeline in compose["services"]["driver"]["command"]:
        assert (REPOSITORY / pipeline).is_file()


def test_what_the_image_copies_exists_and_reaches_the_builder(instructions: list[tuple[str, str]]) -> None:
    ignore = (DOCKER / "Dockerfile.dockerignore").read_text().split()
    assert "*" in ignore
    let_through = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copied = set()
    for name, rest in instructions:
        if name == "COPY":
            copied |= {word for word in shlex.split(rest)[:-1] if not word.startswith("--")}
    assert copied == let_through
    for path in copied:
        assert (REPOSITORY / path).exists(), path


def test_the_image_runs_without_root_and_as_locked(instructions: list[tuple[str, str]]) -> None:
    users = [rest for name, rest in instructions if name == "USER"]
    assert users == ["1000"]
    installs = [rest for name, rest in instructions if name == "RUN" and "pip install" in rest]
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)


def test_no_secret_but_a_documented_default(compose: dict[str, Any]) -> None:
    readme = (DOCKER / "README.md").read_text()
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name:
                assert value == "${POSTGRES_PASSWORD:-kerasweep}"
    for variable in set(re.findall(r"\$\{(\w+)", (DOCKER / "compose.yaml").read_text())):
        assert f"`{variable}`" in readme


def test_nothing_but_the_tracking_server_is_reachable_and_only_from_this_machine(compose: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert list(published) == ["mlflow"]
    assert all(port.startswith("127.0.0.1:") for port in published["mlflow"])


def test_the_tracking_server_accepts_the_name_the_driver_calls_it(compose: dict[str, Any]) -> None:
    command = " ".join(compose["services"]["driver"]["entrypoint"])
    uri = re.search(r"--tracking-uri http://(\S+)", command)
    assert uri is not None
    allowed = compose["services"]["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"]
    assert uri.group(1) in allowed.split(",")
