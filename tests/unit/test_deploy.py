"""What is deployed agrees with what is built: settings, routes, ports, labels, graces, users."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from app.config import PREFIX, Settings, load_settings
from app.main import create_app
from training.recipe import load_recipe

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
KUSTOMIZATIONS = [K8S / "base", K8S / "overlays/gpu", K8S / "training-job"]
INSTRUCTIONS = [
    (words[0], words[1])
    for line in re.sub(r"\\\n\s*", "", re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "Dockerfile").read_text())).splitlines()
    if len(words := line.split(maxsplit=1)) == 2
]
STAGES = [text.split(" AS ")[1] for word, text in INSTRUCTIONS if word == "FROM"]


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def instructions(word: str) -> list[str]:
    return [text for name, text in INSTRUCTIONS if name == word]


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for text in instructions("ENV") for pair in text.split())


def literals(directory: Path) -> dict[str, str]:
    (generator,) = load(directory / "kustomization.yaml")["configMapGenerator"]
    return dict(literal.split("=", 1) for literal in generator["literals"])


def settings_of(environment: Mapping[str, str | None]) -> Settings:
    """Refuses a variable that is no setting, and a value that the setting does not take."""
    given = {name: value or "" for name, value in environment.items() if name.startswith(PREFIX)}
    return load_settings([], {name: re.sub(r"\$\{\w+:-(.*)}", r"\1", value) for name, value in given.items()})


DEPLOYMENT = load(K8S / "base/deployment.yaml")
JOB = load(K8S / "training-job/job.yaml")
POD = DEPLOYMENT["spec"]["template"]["spec"]
SERVER = POD["containers"][0]


@pytest.fixture(scope="module")
def routes() -> set[str]:
    return set(create_app(load_settings([], {})).openapi()["paths"])


@pytest.mark.parametrize(
    "environment",
    [
        image_environment(),
        literals(K8S / "base"),
        literals(K8S / "base") | literals(K8S / "overlays/gpu"),
        *(service.get("environment", {}) for service in COMPOSE["services"].values()),
    ],
)
def test_every_deployed_variable_is_a_setting_with_a_value_it_takes(environment: Mapping[str, str | None]) -> None:
    settings_of(environment)


def test_containers_listen_on_all_interfaces_and_on_the_port_that_is_published(routes: set[str]) -> None:
    port = settings_of(image_environment()).port
    assert settings_of(image_environment()).host == "0.0.0.0"
    assert settings_of(literals(K8S / "base")).host == "0.0.0.0"
    assert settings_of(literals(K8S / "base")).port == port
    assert instructions("EXPOSE") == [str(port)]
    assert SERVER["ports"] == [{"name": "http", "containerPort": port}]
    assert load(K8S / "base/service.yaml")["spec"]["ports"][0]["targetPort"] == "http"
    for name in ("reranker", "reranker-gpu"):
        assert COMPOSE["services"][name]["ports"][0].endswith(f":{port}")


def test_probes_and_scrapes_ask_for_routes_that_exist(routes: set[str]) -> None:
    paths = {kind: SERVER[kind]["httpGet"]["path"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {"startupProbe": "/ready", "readinessProbe": "/ready", "livenessProbe": "/health"}
    assert all(SERVER[kind]["httpGet"]["port"] == "http" for kind in paths)
    annotations = DEPLOYMENT["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(load_settings([], {}).port)
    assert {*paths.values(), annotations["prometheus.io/path"]} <= routes


def test_prometheus_of_compose_scrapes_the_services_by_name(routes: set[str]) -> None:
    (job,) = yaml.safe_load(COMPOSE["configs"]["prometheus"]["content"])["scrape_configs"]
    (source,) = job["dns_sd_configs"]
    assert job["metrics_path"] in routes
    assert source["port"] == load_settings([], {}).port
    assert set(source["names"]) == set(COMPOSE["services"]) - {"prometheus"}


class ReadyHandler(BaseHTTPRequestHandler):
    """A service that is as ready as `status` says."""

    status: ClassVar[int] = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/ready" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize(("status", "exit_code"), [(200, 0), (503, 1)])
def test_the_image_health_check_follows_readiness_and_asks_no_proxy(status: int, exit_code: int) -> None:
    (check,) = instructions("HEALTHCHECK")
    _, *arguments = json.loads(check.partition("CMD ")[2])
    handler = type("Handler", (ReadyHandler,), {"status": status})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        environment = os.environ | {"RERANKER_PORT": str(server.server_port), "http_proxy": "http://127.0.0.1:9"}
        found = subprocess.run([sys.executable, *arguments], env=environment, timeout=30, check=False)
        thread.join()
    assert found.returncode == exit_code


def test_a_kill_comes_only_after_drain_delay_and_grace() -> None:
    settings = settings_of(literals(K8S / "base"))
    assert settings.drain_delay_s > 0, "endpoints are removed while SIGTERM is delivered"
    assert POD["terminationGracePeriodSeconds"] > settings.drain_delay_s + settings.shutdown_grace_s
    for name in ("reranker", "reranker-gpu"):
        service = COMPOSE["services"][name]
        settings = settings_of(service["environment"])
        stop_grace_s = float(service["stop_grace_period"].removesuffix("s"))
        assert stop_grace_s > settings.drain_delay_s + settings.shutdown_grace_s


@pytest.mark.parametrize("workload", [DEPLOYMENT, JOB], ids=["deployment", "job"])
def test_pods_run_restricted_as_the_user_of_the_image(workload: dict[str, Any]) -> None:
    pod = workload["spec"]["template"]["spec"]
    user, group = map(int, instructions("USER")[0].split(":"))
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (user, group, group)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert container["resources"]["requests"] == container["resources"]["limits"]


@pytest.mark.parametrize("workload", [DEPLOYMENT, JOB], ids=["deployment", "job"])
def test_service_links_are_off(workload: dict[str, Any]) -> None:
    """A Service called `reranker` would set RERANKER_PORT=tcp://..., which no start survives."""
    assert workload["spec"]["template"]["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("service", COMPOSE["services"].values(), ids=COMPOSE["services"])
def test_compose_services_are_confined(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}


def test_every_target_ends_as_an_unprivileged_numeric_user() -> None:
    users: dict[str, str] = {}
    for word, text in INSTRUCTIONS:
        if word == "FROM":
            parent, stage = text.split(" AS ")
            users[stage] = users.get(parent, "0")
        elif word == "USER":
            users[stage] = text
    assert {users[target] for target in ("cpu", "gpu", "training")} == {"10001:10001"}
    assert STAGES[-1] == "cpu", "a build that names no target gets the last stage"


def test_images_carry_the_version_of_the_project_and_a_target_of_the_dockerfile() -> None:
    images = [load(directory / "kustomization.yaml")["images"][0] for directory in KUSTOMIZATIONS]
    tags = [f"{image['name']}:{image['newTag']}" for image in images]
    builds = [service for service in COMPOSE["services"].values() if "build" in service]
    assert tags == [f"crossrank:{PROJECT['version']}-{target}" for target in ("cpu", "gpu", "training")]
    for service in builds:
        assert service["image"] == f"crossrank:{PROJECT['version']}-{service['build']['target']}"
    assert {service["build"]["target"] for service in builds} <= set(STAGES)


def test_the_dockerfile_installs_extras_and_starts_scripts_of_the_project() -> None:
    text = "\n".join(instructions("RUN"))
    extras = {
        *re.findall(r'"\.\[(\w+)\]"', text),
        *(arg.split("=")[1] for arg in instructions("ARG") if "EXTRAS" in arg),
    }
    assert extras == {"cpu", "gpu", "training"}
    assert extras <= set(PROJECT["optional-dependencies"])
    assert {json.loads(entry)[0] for entry in instructions("ENTRYPOINT")} == set(PROJECT["scripts"])


def test_the_build_context_holds_what_the_wheel_is_built_from_and_nothing_else() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    files = {"pyproject.toml", ".constraints.txt", PROJECT["readme"], *PROJECT["license-files"]}
    assert allowed == {"app", "training"} | files
    assert all((ROOT / name).exists() for name in allowed)


def test_kustomizations_name_every_manifest_and_only_existing_ones() -> None:
    named = set()
    for directory in KUSTOMIZATIONS:
        content = load(directory / "kustomization.yaml")
        generated = [file for item in content["configMapGenerator"] for file in item.get("files", [])]
        patches = [patch["path"] for patch in content.get("patches", []) if "path" in patch]
        named |= {(directory / name).resolve() for name in (*content["resources"], *patches, *generated)}
    files = {path for path in K8S.rglob("*.*") if path.name != "kustomization.yaml"}
    assert named == files | {K8S / "base"}


def test_selectors_find_the_servers_and_not_the_training_job() -> None:
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    selectors = [
        DEPLOYMENT["spec"]["selector"]["matchLabels"],
        load(K8S / "base/service.yaml")["spec"]["selector"],
        load(K8S / "base/pdb.yaml")["spec"]["selector"]["matchLabels"],
        *(spread["labelSelector"]["matchLabels"] for spread in POD["topologySpreadConstraints"]),
    ]
    assert all(selector == labels for selector in selectors)
    assert not labels.items() <= JOB["spec"]["template"]["metadata"]["labels"].items()


def test_references_between_manifests_resolve() -> None:
    target = load(K8S / "base/hpa.yaml")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == (DEPLOYMENT["kind"], DEPLOYMENT["metadata"]["name"])
    assert "replicas" not in DEPLOYMENT["spec"], "two owners of one number"
    maps = [load(directory / "kustomization.yaml")["configMapGenerator"][0]["name"] for directory in KUSTOMIZATIONS]
    volumes = {volume["name"]: volume for volume in JOB["spec"]["template"]["spec"]["volumes"]}
    assert maps == [SERVER["envFrom"][0]["configMapRef"]["name"]] * 2 + [volumes["recipe"]["configMap"]["name"]]
    claim = load(K8S / "training-job/volume.yaml")["metadata"]["name"]
    assert volumes["work"]["persistentVolumeClaim"]["claimName"] == claim


def test_the_gpu_overlay_asks_for_a_gpu_and_changes_the_base_deployment() -> None:
    patch = load(K8S / "overlays/gpu/deployment.yaml")
    (container,) = patch["spec"]["template"]["spec"]["containers"]
    assert (patch["metadata"]["name"], container["name"]) == (DEPLOYMENT["metadata"]["name"], SERVER["name"])
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert settings_of(literals(K8S / "overlays/gpu")).device == "cuda"


def test_the_training_job_runs_a_valid_recipe_whose_output_outlives_the_pod() -> None:
    (container,) = JOB["spec"]["template"]["spec"]["containers"]
    recipe = load_recipe(K8S / "training-job" / Path(container["args"][1]).name)
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["args"] == ["train", f"{mounts['recipe']}/recipe.toml"]
    assert container["workingDir"] == mounts["work"]
    assert not recipe.output.is_absolute()
    assert not recipe.data_root.is_absolute()


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("directory", KUSTOMIZATIONS, ids=lambda path: path.name)
def test_kustomize_renders_every_directory(directory: Path) -> None:
    command = ["kubectl", "kustomize", str(directory)]
    rendered = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    kinds = {document["kind"] for document in yaml.safe_load_all(rendered)}
    assert ("HorizontalPodAutoscaler" in kinds) is (directory.name == "base")
