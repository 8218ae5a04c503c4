"""What a project brings to be deployed with: Kubernetes manifests and pgbouncer.ini."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from bake import BakedProject
from conftest import Bake
from parses import toml

URLS = {
    "postgresql": "postgresql://app:secret@db.example.com/shop",
    "mysql": "mysql://app:secret@db.example.com/shop",
}
GRANTED = 100 - 3  # what a PostgreSQL as it is installed grants
NAME = re.compile("[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
Object = dict[str, Any]


@pytest.fixture(params=URLS)
def project(request: pytest.FixtureRequest, bake: Bake) -> BakedProject:
    """Give a project for each kind of server."""
    return bake(database_url=URLS[request.param], project_slug="shop")


def manifests(project: BakedProject) -> dict[tuple[str, str], Object]:
    """Return every object that the manifests describe, by kind and name."""
    found = [
        item
        for file in sorted(project.path.glob("ops/kubernetes/*.yaml"))
        for item in yaml.safe_load_all(file.read_text())
    ]
    return {(item["kind"], item["metadata"]["name"]): item for item in found}


def pods(project: BakedProject) -> Iterator[tuple[Object, Object]]:
    """Yield the labels and the specification of each pod."""
    for item in manifests(project).values():
        template = item.get("spec", {}).get("template")
        if template:
            yield template["metadata"]["labels"], template["spec"]


def chosen(selector: Object, project: BakedProject) -> int:
    """Count the pods that have these labels."""
    return sum(selector.items() <= labels.items() for labels, _ in pods(project))


def pgbouncer(project: BakedProject) -> configparser.SectionProxy:
    """Return PgBouncer's settings."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(project.text("ops/pgbouncer.ini"))
    return parser["pgbouncer"]


def test_kubernetes_accepts_every_manifest(project: BakedProject) -> None:
    """Strictly: no key that it does not know. The ServiceMonitor is an operator's own."""
    found = manifests(project)
    assert len(found) >= 7
    for (kind, _), item in found.items():
        if kind != "ServiceMonitor":
            version = kubernetes_validate.latest_version()
            kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize("slug", ["a", "shop_", "a__b", "long_" * 16])
def test_every_object_has_a_name_that_kubernetes_takes(bake: Bake, slug: str) -> None:
    """Whatever the project is called: a name of DNS, of at most 63 characters."""
    project = bake(project_slug=slug, database_url=URLS["postgresql"])
    names = [name for _, name in manifests(project)]
    assert names
    assert [name for name in names if not NAME.fullmatch(name)] == []


@pytest.mark.parametrize(("size", "overflow"), [("5", "10"), ("1", "0"), ("50", "100")])
def test_at_its_largest_the_service_fits_the_pooler_and_that_the_server(
    bake: Bake, size: str, overflow: str
) -> None:
    """During a rollout too, when old and new pods run at once, and with one PgBouncer left."""
    answers = {"pool_size": size, "max_overflow": overflow, "project_slug": "shop"}
    project = bake(database_url=URLS["postgresql"], **answers)
    found, settings = manifests(project), pgbouncer(project)
    (container,) = found["Deployment", "shop"]["spec"]["template"]["spec"]["containers"]
    environment = {item["name"]: item["value"] for item in container["env"]}
    defaults = toml(project, "src/shop/defaults.toml")
    each = int(environment["WEB_CONCURRENCY"]) * (
        defaults["SQLALCHEMY_POOL_SIZE"] + defaults["SQLALCHEMY_MAX_OVERFLOW"]
    )
    most = found["HorizontalPodAutoscaler", "shop"]["spec"]["maxReplicas"]
    assert 2 * most * each <= int(settings["max_client_conn"])

    poolers = found["Deployment", "shop-pgbouncer"]["spec"]
    at_once = poolers["replicas"] + poolers["strategy"]["rollingUpdate"]["maxSurge"]
    assert int(settings["default_pool_size"]) <= int(settings["max_db_connections"])
    assert at_once * int(settings["max_db_connections"]) <= GRANTED


def test_the_pooler_in_kubernetes_is_configured_as_the_other(bake: Bake) -> None:
    """One text in two places: pgbouncer.ini, and the ConfigMap."""
    project = bake(database_url=URLS["postgresql"], project_slug="shop")
    data = manifests(project)["ConfigMap", "shop-pgbouncer"]["data"]
    assert data == {"pgbouncer.ini": project.text("ops/pgbouncer.ini")}


def test_a_pod_may_finish_what_it_has_begun(project: BakedProject) -> None:
    """It is killed later than gunicorn ends the longest request, and no pod goes before another."""
    spec = manifests(project)["Deployment", "shop"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    (_, pause) = container["lifecycle"]["preStop"]["exec"]["command"]
    timeout = toml(project, "src/shop/defaults.toml")["SQLALCHEMY_STATEMENT_TIMEOUT"]
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > int(pause) + timeout + 5
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


def test_a_pod_may_do_nothing_that_it_does_not_need(project: BakedProject) -> None:
    """Numeric users that are not root, nothing to write to, no capability, no token."""
    found = list(pods(project))
    assert len(found) >= 2
    for _, pod in found:
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        if container["name"] != "pgbouncer":
            assert (security["runAsUser"], security["runAsGroup"]) == (10001, 10001)


def test_manifests_refer_to_secrets_and_hold_none(project: BakedProject) -> None:
    """What is secret comes from a Secret, whose name alone is there."""
    found = manifests(project)
    assert "Secret" not in {kind for kind, _ in found}
    for _, pod in pods(project):
        (container,) = pod["containers"]
        if container["name"] != "pgbouncer":
            assert container["envFrom"] == [{"secretRef": {"name": "shop"}}]
        names = {item["name"] for item in container.get("env", [])}
        assert names <= {"WEB_CONCURRENCY", "SQLALCHEMY_EXTERNAL_POOLER"}
    (endpoint,) = found["ServiceMonitor", "shop"]["spec"]["endpoints"]
    assert endpoint["authorization"] == {"credentials": {"name": "shop", "key": "OPS_TOKEN"}}


def test_everything_that_selects_pods_finds_some(project: BakedProject) -> None:
    """Services, budgets and policies; and ports have the names by which they are called."""
    found = manifests(project)
    for (kind, name), item in found.items():
        spec = item.get("spec", {})
        if kind == "Service":
            assert chosen(spec["selector"], project) == 1, name
        elif kind in ("PodDisruptionBudget", "Deployment"):
            assert chosen(spec["selector"]["matchLabels"], project) == 1, name
        elif kind == "NetworkPolicy":
            named = set(re.findall(r"\bshop[\w-]*", str(spec)))
            assert named <= {labels["app"] for labels, _ in pods(project)}, name
    monitor, service = found["ServiceMonitor", "shop"]["spec"], found["Service", "shop"]
    assert monitor["selector"]["matchLabels"] == service["metadata"]["labels"]
    assert [port["name"] for port in service["spec"]["ports"]] == [monitor["endpoints"][0]["port"]]
