"""docker-compose.yml, held against what it names: it runs where no test does."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from jsonschema.validators import validator_for
from temporalio.envconfig import ClientConfig

import payment_provider.__main__ as provider
import worker
from counteract.cli.recover import SCHEDULE
from counteract.dev.temporal import SEARCH_ATTRIBUTES
from counteract.saga.recovery import RecoverSagas
from counteract.store.postgres.connect import APP_ROLE
from deploy import healthcheck

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
GIVEN = "given"


def interpolated(text: str) -> str:
    """As compose does it, where every variable without a default is given."""
    return VARIABLE.sub(lambda found: found[3] if found[2] == "-" else GIVEN, text)


COMPOSE: dict[str, Any] = yaml.safe_load(interpolated(TEXT))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
AS_WRITTEN: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
JOBS = {
    name
    for service in SERVICES.values()
    for name, wanted in service.get("depends_on", {}).items()
    if wanted["condition"] == "service_completed_successfully"
}
STAYING = SERVICES.keys() - JOBS
APPLICATION = {name: service for name, service in SERVICES.items() if "build" in service}
WORKERS = {name: service for name, service in APPLICATION.items() if "worker.py" in service["command"]}
IMAGES = {service["image"] for service in SERVICES.values()}

# Read by Temporal's client, wherever one is made.
TEMPORAL = {"TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE"}
# Without them the sagas' worker is unversioned.
VERSION = {"TEMPORAL_DEPLOYMENT_NAME", "TEMPORAL_WORKER_BUILD_ID"}


def environment(service: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in service.get("environment", {}).items()}


def mounts(service: Mapping[str, Any]) -> dict[str, str]:
    """Source by target."""
    parts = [str(volume).split(":") for volume in service.get("volumes", [])]
    return {target: source for source, target, *_ in parts}


def scripts(service: Mapping[str, Any]) -> list[str]:
    """The texts of the mounted files that are run."""
    run = [source for source in mounts(service).values() if source.endswith((".sh", ".sql"))]
    return [(ROOT / source).read_text(encoding="utf-8") for source in run]


def options_of(service: Mapping[str, Any]) -> Any:
    return worker.parser().parse_args(service["command"][2:])


def test_it_follows_the_compose_specification() -> None:
    file = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(file.read_text(encoding="utf-8"))

    assert [error.message for error in validator_for(schema)(schema).iter_errors(COMPOSE)] == []


@pytest.mark.parametrize("image", sorted(IMAGES))
def test_an_image_is_pinned_to_a_version_in_one_place(image: str) -> None:
    name, _, tag = image.partition(":")

    assert re.match(r"\d+\.\d+", tag)
    assert TEXT.count(f" {name}:$") == 1


def test_the_applications_image_has_the_packages_version() -> None:
    assert {each["image"] for each in APPLICATION.values()} == {f"counteract:{PYPROJECT['project']['version']}"}


def test_temporals_tools_have_the_servers_version() -> None:
    tags = dict(image.split(":") for image in IMAGES)

    assert tags["temporalio/admin-tools"] == tags["temporalio/server"]


@pytest.mark.parametrize("name", sorted(STAYING))
def test_a_service_says_whether_it_is_well_and_comes_back(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(JOBS))
def test_a_job_runs_once(name: str) -> None:
    assert SERVICES[name]["restart"] == "no"
    assert "healthcheck" not in SERVICES[name]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_a_service_waits_for_exists(name: str) -> None:
    for other, wanted in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        assert wanted["condition"] == ("service_completed_successfully" if other in JOBS else "service_healthy")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_can_do_no_more_than_it_must(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


def test_only_the_ui_and_the_frontend_are_published_and_only_on_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published.keys() == {"temporal", "temporal-ui"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_only_what_is_published_has_a_way_out() -> None:
    open_networks = {name for name, network in COMPOSE["networks"].items() if not (network or {}).get("internal")}
    outside = {name for name, service in SERVICES.items() if open_networks & set(service["networks"])}

    assert outside == {"temporal", "temporal-ui"}


def test_a_secret_comes_from_the_environment_and_has_no_default() -> None:
    values = [item for service in AS_WRITTEN.values() for item in environment(service).items()]
    secrets = [value for name, value in values if re.search("PASSWORD|PWD|SECRET|TOKEN|_KEY", name)]
    logins = [value for _, value in values if "@" in value]

    assert secrets
    assert logins
    assert [value for value in secrets if not re.fullmatch(r"\$\{\w+:\?[^}]+\}", value)] == []
    assert [value for value in logins if not re.search(r"://\w+:\$\{\w+:\?[^}]+\}@", value)] == []


def test_the_example_names_exactly_what_must_be_set() -> None:
    required = {name for name, kind, _ in VARIABLE.findall(TEXT) if kind != "-"}
    example = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()

    assert {line for line in example if line and not line.startswith("#")} == {f"{name}=" for name in required}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_is_mounted_exists(name: str) -> None:
    for source in mounts(SERVICES[name]).values():
        assert (ROOT / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"]


def test_the_database_outlives_its_container() -> None:
    assert mounts(SERVICES["postgres"])["/var/lib/postgresql"] in COMPOSE["volumes"]


def test_the_application_and_temporal_have_databases_and_roles_of_their_own() -> None:
    [setup] = scripts(SERVICES["postgres"])
    owners = dict(re.findall(r"^create database (\w+) owner (\w+);", setup, re.MULTILINE))
    urls = {
        name: urlsplit(value)
        for name, service in APPLICATION.items()
        for value in environment(service).values()
        if "@" in value
    }
    url = urls.pop("migrate")
    temporal = environment(SERVICES["temporal"])

    assert owners[url.path.removeprefix("/")] == url.username
    assert {owners["temporal"], owners["temporal_visibility"]} == {temporal["POSTGRES_USER"]}
    assert temporal["POSTGRES_USER"] == environment(SERVICES["temporal-schema"])["SQL_USER"] != url.username
    assert {(each.username, each.path) for each in urls.values()} == {(APP_ROLE, url.path)}
    assert {*owners.values(), APP_ROLE} == set(re.findall(r"^create role (\w+) login", setup, re.MULTILINE))


def test_only_the_migration_is_given_the_owners_password() -> None:
    given = {name for name, service in AS_WRITTEN.items() if "COUNTERACT_OWNER_PASSWORD" in str(service)}
    assert given == {"migrate", "postgres"}


@pytest.mark.parametrize("name", sorted(name for name, service in SERVICES.items() if scripts(service)))
def test_a_script_is_given_the_variables_that_it_reads(name: str) -> None:
    for script in scripts(SERVICES[name]):
        read = re.findall(r"\\getenv \w+ (\w+)|\$([A-Z]\w+)", script)
        assert {sql or shell for sql, shell in read} <= environment(SERVICES[name]).keys()


@pytest.mark.parametrize("script", sorted((ROOT / "deploy").rglob("*.sh")), ids=lambda path: path.name)
def test_a_shell_script_can_be_read(script: Path) -> None:
    subprocess.run(["sh", "-n", script], check=True)


@pytest.mark.parametrize("name", sorted(name for name, service in SERVICES.items() if "entrypoint" in service))
def test_a_job_runs_a_script_that_is_mounted(name: str) -> None:
    assert SERVICES[name]["entrypoint"][1] in mounts(SERVICES[name])


def test_temporal_reads_the_settings_that_are_mounted() -> None:
    source = mounts(SERVICES["temporal"])[environment(SERVICES["temporal"])["DYNAMIC_CONFIG_FILE_PATH"]]
    settings = yaml.safe_load((ROOT / source).read_text(encoding="utf-8"))

    assert settings
    assert all(choice.keys() <= {"value", "constraints"} for choices in settings.values() for choice in choices)


def test_the_search_attributes_of_sagas_are_created() -> None:
    [script] = scripts(SERVICES["temporal-namespace"])

    assert dict(re.findall(r"--name (\w+) --type (\w+)", script)) == SEARCH_ATTRIBUTES


def test_lost_sagas_are_looked_for_by_the_schedule_that_the_command_line_knows() -> None:
    [script] = scripts(SERVICES["temporal-namespace"])
    [create] = re.findall(r"schedule create(.*)", script.replace("\\\n", ""))
    options = dict(re.findall(r"--(schedule-id|type|task-queue) (\S+)", create))

    assert options == {"schedule-id": SCHEDULE, "type": RecoverSagas.__name__, "task-queue": worker.SAGAS}


def test_everybody_means_the_same_temporal() -> None:
    clients = [env for env in map(environment, SERVICES.values()) if "TEMPORAL_NAMESPACE" in env]
    configured = [ClientConfig.load_client_connect_config(disable_file=True, override_env_vars=env) for env in clients]

    assert len(clients) == len(WORKERS) + 1
    assert all(each == {"target_host": "temporal:7233", "namespace": "default"} for each in configured)


def test_the_payment_provider_is_where_the_worker_looks_for_it() -> None:
    [url] = {env["PAYMENT_PROVIDER_URL"] for env in map(environment, WORKERS.values()) if "PAYMENT_PROVIDER_URL" in env}
    service = SERVICES["payment-provider"]
    options = provider.parser().parse_args(service["command"][3:])

    assert (urlsplit(url).hostname, urlsplit(url).port) == ("payment-provider", options.port)
    assert options.host == "0.0.0.0"  # noqa: S104 - inside its container
    assert PurePosixPath(options.state).parent.as_posix() in mounts(service)
    assert f"http://127.0.0.1:{options.port}/health" in service["healthcheck"]["test"][-1]


def test_every_task_queue_has_one_worker_service() -> None:
    served = Counter(queue for service in WORKERS.values() for queue in options_of(service).services)

    assert served == Counter([worker.SAGAS, *worker.SERVICES])


@pytest.mark.parametrize("name", sorted(WORKERS))
def test_a_workers_health_is_that_of_its_own_task_queues(name: str) -> None:
    command = WORKERS[name]["healthcheck"]["test"][4:]

    assert healthcheck.parser().parse_args(command).queues == list(options_of(WORKERS[name]).services)


@pytest.mark.parametrize("name", sorted(APPLICATION))
def test_a_command_names_what_exists(name: str) -> None:
    for command in (APPLICATION[name]["command"], APPLICATION[name].get("healthcheck", {}).get("test", [])[1:]):
        match command:
            case ["python", "-m", module, *_]:
                assert importlib.util.find_spec(module)
            case ["python", "-c", code]:
                ast.parse(code)
            case ["python", script, *_]:
                assert (ROOT / script).is_file()
            case ["counteract", *_]:
                assert "counteract" in PYPROJECT["project"]["scripts"]
            case _:
                assert not command


@pytest.mark.parametrize("name", sorted(name for name in APPLICATION if environment(APPLICATION[name])))
def test_a_process_asks_for_exactly_the_variables_that_it_is_given(name: str) -> None:
    service = APPLICATION[name]
    programs = {"python": [sys.executable], "counteract": [sys.executable, "-m", "counteract.cli"]}
    program, *arguments = service["command"]

    refused = subprocess.run(
        [*programs[program], *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert refused.returncode != 0
    asked_for = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", refused.stdout + refused.stderr))
    # For a Temporal server each looks at home first, so nobody asks where it is.
    assert asked_for | (TEMPORAL if name in WORKERS else set()) == environment(service).keys() - VERSION


def test_only_the_sagas_worker_has_a_version_and_by_default_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    versioned = {name for name, service in SERVICES.items() if VERSION & environment(service).keys()}
    assert {each: options_of(SERVICES[each]).services for each in versioned} == {"orchestrator": (worker.SAGAS,)}

    for name, value in environment(SERVICES["orchestrator"]).items():
        monkeypatch.setenv(name, value)
    assert worker.read(worker.Settings).version is None
