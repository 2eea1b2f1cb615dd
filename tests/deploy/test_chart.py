"""The chart gives objects that a cluster takes, and that agree with each other and with the program."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import typer
import yaml
from jsonschema import ValidationError

from bertserve.cli.app import app
from bertserve.serving.config import PACKAGED, read_config
from bertserve.serving.config.properties import parse_properties
from bertserve.serving.gauges import exposition
from bertserve.serving.server import DRAINING
from bertserve.serving.starting import START_TIMEOUT
from documents import ROOT, blocks, table
from manifests import CHART, NAMESPACE, NEWEST, OLDEST, Object, one, rendered, validate

if TYPE_CHECKING:
    from typer.core import TyperGroup

helm = pytest.importorskip("helm_python", reason="its wheels are for x86_64 alone")

PROGRAM = cast("TyperGroup", typer.main.get_command(app))
DIGEST = "0" * 64
ITEMS = [
    {"uri": "s3://models/support-2.0.mar", "sha256": DIGEST},
    {"uri": "https://models.example.com/a/support-1.0.mar?sig=x", "sha256": DIGEST},
]
USUAL = {"tokens": {"secret": "callers"}, "archives": {"items": ITEMS}}
ARCHIVES = [
    {"source": "storage", "items": ITEMS, "credentials": "storage"},
    {"source": "claim", "claim": "archives"},
    {"source": "image"},
]
SITES: list[dict[str, Any]] = [
    {"tokens": {"secret": "callers"}},
    {
        "tokens": {"inline": {"shop": "a-token-of-the-tests", "crm": "another-token-of-the-tests"}},
        "tls": {"secret": "certificate"},
        "image": {"repository": "registry.example.com/bertserve", "digest": f"sha256:{DIGEST}"},
        "imagePullSecrets": ["registry"],
        "config": {"job_queue_size": "500", "max_request_size": "2097152"},
        "nodeSelector": {"pool": "inference"},
        "tolerations": [{"key": "inference", "operator": "Exists", "effect": "NoSchedule"}],
        "spread": ["topology.kubernetes.io/zone"],
        "priorityClassName": "serving",
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/a"}},
        "service": {"type": "LoadBalancer", "annotations": {"example.com/internal": "true"}},
        "monitoring": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
        "networkPolicy": {"callers": ["shop"], "storagePorts": [443, 9000]},
        "test": {"model": "support"},
    },
    {"tokens": {"secret": "callers"}, "networkPolicy": {"enabled": False}},
]
GPUS: list[dict[str, Any]] = [{}, {"gpu": {"count": 2, "runtimeClassName": "nvidia"}}]
SCALING = ["none", "hpa", "keda"]
MATRIX = [
    {**site, **gpu, "archives": archives, "autoscaling": {"kind": kind}}
    for site, gpu, archives, kind in itertools.product(SITES, GPUS, ARCHIVES, SCALING)
]


@cache
def _rendered(values: str) -> list[Object]:
    return rendered(json.loads(values))


def objects_of(values: dict[str, Any]) -> list[Object]:
    """What is made of values, once."""
    return _rendered(json.dumps(values, sort_keys=True))


@pytest.fixture(params=range(len(MATRIX)))
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return objects_of(MATRIX[request.param])


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Component and pod, of all that run some."""
    for each in objects:
        pod = each["spec"]["template"] if each["kind"] == "Deployment" else each
        if pod["kind"] == "Pod" if "kind" in pod else each["kind"] == "Deployment":
            yield pod["metadata"]["labels"]["app.kubernetes.io/component"], pod


def containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def replica(objects: list[Object]) -> Object:
    return next(pod for component, pod in pods(objects) if component == "replica")


def container(objects: list[Object], name: str) -> Object:
    return next(each for each in containers(replica(objects)) if each["name"] == name)


def test_a_cluster_takes_every_object(objects: list[Object]) -> None:
    kinds = {each["kind"] for each in objects}
    assert kinds >= {"Deployment", "Service", "PodDisruptionBudget", "ConfigMap", "ServiceAccount"}
    for each in objects:
        for version in (OLDEST, NEWEST):
            validate(each, version)
        assert len(each["metadata"]["name"]) <= 63


def test_names_lead_to_objects_that_are_there(objects: list[Object]) -> None:
    there = {(each["kind"], each["metadata"]["name"]) for each in objects}
    theirs = {"callers", "certificate", "storage", "registry"}  # Secrets of the site
    for _, pod in pods(objects):
        spec = pod["spec"]
        if "serviceAccountName" in spec:
            assert ("ServiceAccount", spec["serviceAccountName"]) in there
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for volume in volumes.values():
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there
            if "secret" in volume:
                name = volume["secret"]["secretName"]
                assert name in theirs or ("Secret", name) in there
        mounted = {mount["name"] for each in containers(pod) for mount in each["volumeMounts"]}
        assert mounted == set(volumes)
    for each in objects:
        if target := each["spec"].get("scaleTargetRef") if "spec" in each else None:
            assert (target["kind"], target["name"]) in there


def test_selectors_choose_the_pods_that_are_meant(objects: list[Object]) -> None:
    labels = {component: pod["metadata"]["labels"] for component, pod in pods(objects)}
    chosen = []
    for each in objects:
        if each["kind"] == "ServiceMonitor":
            continue
        selector = each.get("spec", {}).get("selector") or each.get("spec", {}).get("podSelector")
        if selector:
            selector = selector.get("matchLabels", selector)
            (component,) = [
                name for name, found in labels.items() if selector.items() <= found.items()
            ]
            assert each["metadata"]["labels"]["app.kubernetes.io/component"] == component
            chosen.append((each["kind"], component))
    for kind in ("Deployment", "Service", "PodDisruptionBudget"):
        assert sorted(c for k, c in chosen if k == kind) == ["gateway", "replica"]


def test_ports_are_those_of_the_containers(objects: list[Object]) -> None:
    ports = {
        component: {
            port["containerPort"] for each in containers(pod) for port in each.get("ports", ())
        }
        for component, pod in pods(objects)
    }
    assert ports["replica"] == {8000, 9000, 8082, 8083}
    for each in objects:
        component = each["metadata"]["labels"]["app.kubernetes.io/component"]
        if each["kind"] == "Service":
            assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports[component]
        if each["kind"] == "NetworkPolicy":
            opened = [port["port"] for rule in each["spec"]["ingress"] for port in rule["ports"]]
            assert set(opened) <= ports[component]
    for _, pod in pods(objects):
        for each in containers(pod):
            names = {port["name"] for port in each.get("ports", ())}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                handler = each.get(probe, {})
                for how in ("httpGet", "tcpSocket"):
                    assert handler.get(how, {}).get("port") in {None, *names}
    if monitors := [each for each in objects if each["kind"] == "ServiceMonitor"]:
        service = one(objects, "Service", "demo-bertserve-replicas")
        spec = monitors[0]["spec"]
        assert spec["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        named = {port["name"]: port["targetPort"] for port in service["spec"]["ports"]}
        assert [named[endpoint["port"]] for endpoint in spec["endpoints"]] == [8082, 8083]


def test_no_container_may_do_more_than_it_must(objects: list[Object]) -> None:
    for _, pod in pods(objects):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for each in containers(pod):
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in each["resources"]["limits"]
            assert not each["image"].endswith((":latest", ":"))


def parse(words: list[str]) -> dict[str, Any]:
    """What the program reads in a command line of ours; an error where it would refuse it."""
    assert words[0] == "bertserve"
    context = PROGRAM.make_context("bertserve", words[1:])
    name, command, rest = PROGRAM.resolve_command(context, words[1:])
    assert command is not None
    return dict(command.make_context(name, rest, parent=context).params)


def test_the_program_knows_the_commands(objects: list[Object]) -> None:
    config = "/etc/bertserve/config.properties"
    found = {each["name"]: parse([*each["command"], *each["args"]])
             for each in containers(replica(objects))}  # fmt: skip
    assert str(found["server"]["config"]) == str(found["proxy"]["config"]) == config
    assert found["server"]["foreground"] is True
    assert str(found["server"]["model_store"]) == "/models"
    assert str(found["proxy"]["tokens"]) == "/etc/bertserve/tokens"
    stop = container(objects, "server")["lifecycle"]["preStop"]["exec"]["command"]
    assert str(parse(stop)["config"]) == config
    for name, params in found.items():
        if name.startswith("archives-"):
            item = ITEMS[int(name.removeprefix("archives-"))]
            assert {"uri": params["uri"], "sha256": params["sha256"]} == item
            assert str(params["to"]) == "/models"


def test_what_a_container_reads_and_writes_is_mounted(objects: list[Object]) -> None:
    def mounts(name: str) -> dict[str, bool]:
        found = container(objects, name)["volumeMounts"]
        return {mount["mountPath"]: not mount.get("readOnly", False) for mount in found}

    server, proxy = mounts("server"), mounts("proxy")
    assert server["/tmp"]
    assert server["/state"]
    assert proxy["/tmp"]
    assert proxy["/state"]
    assert not server["/etc/bertserve"]
    assert not proxy["/etc/bertserve/tokens"]
    from_image = not any(
        volume["name"] == "models" for volume in replica(objects)["spec"]["volumes"]
    )
    assert server.get("/models", None) is (None if from_image else False)
    state = {each: container(objects, each)["env"] for each in ("server", "proxy")}
    assert state["server"] == state["proxy"] == [{"name": "XDG_STATE_HOME", "value": "/state"}]


def test_the_proxy_outlives_the_server(objects: list[Object]) -> None:
    assert container(objects, "proxy") in replica(objects)["spec"]["initContainers"]
    assert container(objects, "proxy")["restartPolicy"] == "Always"


def test_there_is_time_to_start_and_to_drain(objects: list[Object]) -> None:
    server, spec = container(objects, "server"), replica(objects)["spec"]
    startup = server["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= START_TIMEOUT
    deployment = one(objects, "Deployment", "demo-bertserve")["spec"]
    assert deployment["progressDeadlineSeconds"] > START_TIMEOUT
    assert spec["terminationGracePeriodSeconds"] >= DRAINING + 20
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def config_of(objects: list[Object], folder: Path) -> Path:
    path = folder / "config.properties"
    path.write_text(one(objects, "ConfigMap", "demo-bertserve")["data"]["config.properties"])
    return path


def test_the_configuration_is_the_usual_one_but_for_who_reaches_it(tmp_path: Path) -> None:
    path = config_of(objects_of(USUAL), tmp_path)
    own, usual = parse_properties(path.read_bytes()), parse_properties(PACKAGED.read_bytes())
    meant = {
        "metrics_address": "http://0.0.0.0:8082",
        "supervisor_address": "http://0.0.0.0:8083",
        "token_expiration_min": "5256000",
    }
    assert own == {**usual, **meant}
    config = read_config(path)
    assert config.tokens
    assert config.ports() == {
        "inference_address": ("127.0.0.1", 8080),
        "management_address": ("127.0.0.1", 8081),
        "metrics_address": ("127.0.0.1", 8082),
        "supervisor_address": ("0.0.0.0", 8083),
        "grpc_inference_port": ("127.0.0.1", 7070),
        "grpc_management_port": ("127.0.0.1", 7071),
    }


def test_the_explanations_of_the_configuration_are_the_usual_ones() -> None:
    """What was changed in one file and forgotten in the other."""
    own = (CHART / "files" / "config.properties").read_text().splitlines()
    usual = PACKAGED.read_text().partition("grpc_inference_address")[2].splitlines()
    assert [line for line in usual[1:] if line not in own] == ["token_expiration_min=1440"]


def test_the_image_brings_the_same_configuration() -> None:
    """Made of the usual one in the Containerfile, for whoever runs the image without the chart."""
    text = (ROOT / "deploy" / "container" / "Containerfile").read_text()
    changes = [word for each in re.findall(r"-e '(s\|.+?)'", text) for word in ("-e", each)]
    assert len(changes) > 4
    command = ["sed", *changes, str(PACKAGED)]
    made = subprocess.run(command, capture_output=True, check=True).stdout
    own = (CHART / "files" / "config.properties").read_bytes()
    assert parse_properties(made) == parse_properties(own)


def test_a_site_s_settings_hold(tmp_path: Path) -> None:
    path = config_of(objects_of(MATRIX[len(MATRIX) // 3]), tmp_path)
    read_config(path)
    found = parse_properties(path.read_bytes())
    assert (found["job_queue_size"], found["max_request_size"]) == ("500", "2097152")


def annotation(values: dict[str, Any]) -> str:
    found = replica(objects_of(values))["metadata"]["annotations"]["checksum/config"]
    assert isinstance(found, str)
    return found


def test_a_changed_configuration_or_archive_rolls_out_and_a_token_does_not() -> None:
    changed = {**USUAL, "config": {"job_queue_size": "400"}}
    assert annotation(USUAL) != annotation(changed)
    other = {**USUAL, "archives": {"items": ITEMS[:1]}}
    assert replica(objects_of(USUAL)) != replica(objects_of(other))
    for tokens in ({"shop": "a-token-of-the-tests"}, {"crm": "another-token-of-the-tests"}):
        inline = {**USUAL, "tokens": {"inline": tokens}}
        secret = one(objects_of(inline), "Secret", "demo-bertserve-tokens")
        assert secret["stringData"] == tokens
    first, second = (
        replica(objects_of({**USUAL, "tokens": {"inline": {"shop": f"a-token-of-the-tests-{n}"}}}))
        for n in range(2)
    )
    assert first == second


def test_gpus_are_asked_for_where_there_shall_be_some(objects: list[Object]) -> None:
    server = container(objects, "server")
    limits = server["resources"]["limits"]
    runtime = replica(objects)["spec"].get("runtimeClassName")
    assert (limits.get("nvidia.com/gpu"), runtime) in [(None, None), (2, "nvidia")]
    images = {each["image"] for each in containers(replica(objects))}
    assert len(images) == 1
    (image,) = images
    if "@" in image:
        assert image == f"registry.example.com/bertserve@sha256:{DIGEST}"
    else:
        assert image.endswith("-cuda") == ("nvidia.com/gpu" in limits)


def test_only_the_gateway_reaches_replicas() -> None:
    objects = objects_of({**USUAL, "archives": {"source": "image"}})
    policy = one(objects, "NetworkPolicy", "demo-bertserve")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress"] == []
    gateway, monitoring = policy["ingress"]
    (selected,) = gateway["from"]
    labels = dict(pods(objects))["gateway"]["metadata"]["labels"]
    assert selected["podSelector"]["matchLabels"].items() <= labels.items()
    assert {port["port"] for port in gateway["ports"]} == {8000, 9000, 8083}
    (selected,) = monitoring["from"]
    assert list(selected) == ["namespaceSelector"]
    assert {port["port"] for port in monitoring["ports"]} == {8082, 8083}


def gauges() -> set[str]:
    """What the supervisor shows, of no model."""
    text = exposition(True, [], lambda _: False, {}).decode()
    return set(re.findall(r"(?m)^# TYPE (\S+) gauge$", text))


def asked(objects: list[Object]) -> set[str]:
    """The gauges that something is scaled by."""
    kinds = ("HorizontalPodAutoscaler", "ScaledObject")
    text = json.dumps([each for each in objects if each["kind"] in kinds])
    return set(re.findall(r"bertserve_\w+", text))


def test_replicas_are_scaled_by_gauges_that_there_are() -> None:
    wanted = {"bertserve_workers_busy", "bertserve_requests_waiting"}
    assert wanted <= gauges()
    for kind in ("hpa", "keda"):
        objects = objects_of({**USUAL, "autoscaling": {"kind": kind}})
        assert asked(objects) == wanted
        assert "replicas" not in one(objects, "Deployment", "demo-bertserve")["spec"]
    assert not asked(objects_of(USUAL))
    adapter = yaml.safe_load((ROOT / "deploy/kubernetes/prometheus-adapter.yaml").read_text())
    series = [rule["seriesQuery"].partition("{")[0] for rule in adapter["rules"]["custom"]]
    assert set(series) == wanted


def test_keda_asks_for_the_replicas_alone() -> None:
    objects = objects_of({**USUAL, "autoscaling": {"kind": "keda"}})
    for trigger in one(objects, "ScaledObject", "demo-bertserve")["spec"]["triggers"]:
        query = trigger["metadata"]["query"]
        assert f'namespace="{NAMESPACE}"' in query
        (pattern,) = re.findall(r'pod=~"(.+?)"', query)
        assert re.fullmatch(pattern, "demo-bertserve-6d4cf56db6-x2x7k")
        assert not re.fullmatch(pattern, "demo-bertserve-gateway-6d4cf56db6-x2x7k")


def test_what_a_parent_hands_to_all_of_its_charts_is_no_error() -> None:
    assert objects_of({**USUAL, "global": {"imageRegistry": "registry.example.com"}})


def test_labels_and_annotations_of_a_site_are_there() -> None:
    labels = {"azure.workload.identity/use": "true"}
    gateway = {"annotations": {"secret.reloader.stakater.com/auto": "true"}}
    found = objects_of({**USUAL, "podLabels": labels, "gateway": gateway})
    assert replica(found)["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    deployment = one(found, "Deployment", "demo-bertserve-gateway")
    assert deployment["metadata"]["annotations"] == gateway["annotations"]


@pytest.mark.parametrize("values", MATRIX[:: len(MATRIX) // 3], ids=str)
def test_lint_finds_nothing(values: dict[str, Any]) -> None:
    report = helm.lint(CHART, values, strict=True)
    worse = [each for each in report["messages"] if each["severity"] > 1]
    assert (report["errors"], worse) == ([], [])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replica": 3}, "replica"),
        ({"archives": {"item": []}}, "item"),
        ({"archives": {"items": [{**ITEMS[0], "sha": "1"}]}}, "sha"),
        ({"archives": {"items": [{"uri": ITEMS[0]["uri"]}]}}, "sha256"),
        ({"archives": {"items": [{**ITEMS[0], "sha256": "abc"}]}}, "sha256"),
        ({"archives": {"items": [{**ITEMS[0], "uri": "s3://models/support"}]}}, "uri"),
        ({"server": {"resources": {"limit": {}}}}, "limit"),
        ({"autoscaling": {"kind": "vpa"}}, "kind"),
        ({"config": {"job_queue_size": "1\ndisable_token_authorization=true"}}, "job_queue_size"),
        ({"tokens": {"inline": {"shop": "short"}}}, "shop"),
        ({"gateway": {"image": {"tag": ""}}}, "tag"),
        ({"autoscaling": {"kind": "hpa", "busyWorkers": "0.0"}}, "busyWorkers"),
        ({"autoscaling": {"kind": "hpa", "min": 5, "max": 2}}, "min is 5 and autoscaling.max is 2"),
        (
            {
                "autoscaling": {"kind": "keda"},
                "monitoring": {"serviceMonitor": {"enabled": True, "interval": "60s"}},
            },
            "interval to 30s or less",
        ),
        (
            {
                "archives": {
                    "items": [
                        {"uri": f"s3://models/{folder}/model.mar", "sha256": DIGEST}
                        for folder in ("support", "crm")
                    ]
                }
            },
            "two files named model.mar",
        ),
    ],
)
def test_a_wrong_value_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(helm.HelmError, match=said):
        rendered({**USUAL, **values})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"archives": {"source": "image"}}, "nobody may call: set tokens.secret"),
        ({"tokens": {"secret": "callers"}}, "archives.items is empty"),
        (
            {"tokens": {"secret": "callers"}, "archives": {"source": "claim"}},
            "archives.claim is empty",
        ),
        (
            {**USUAL, "tokens": {"secret": "callers", "inline": {"shop": "a-token-of-the-tests"}}},
            "are both set",
        ),
    ],
)
def test_what_is_missing_is_told(values: dict[str, Any], said: str) -> None:
    with pytest.raises(helm.HelmError, match=said):
        rendered(values)


def schemas(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema in a schema."""
    if isinstance(schema, dict):
        if "type" in schema and isinstance(schema["type"], str):
            yield schema
        for each in schema.values():
            yield from schemas(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from schemas(each)


def test_the_schema_knows_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    for each in schemas(schema):
        if each["type"] == "object" and each is not schema["properties"]["global"]:
            assert each["additionalProperties"] is not True, each

    def keys(schema: dict[str, Any], values: Any) -> Iterator[str]:
        schema = schema["$defs"] if "$defs" in schema and "type" not in schema else schema
        known = schema.get("properties")
        if known is not None and isinstance(values, dict):
            assert set(values) == set(known) - {"global"}
            for key, value in values.items():
                yield key
                yield from keys(known[key], value)

    found = set(keys(schema, yaml.safe_load((CHART / "values.yaml").read_text())))
    assert len(found) > 40


@pytest.mark.parametrize(
    ("template", "old", "new"),
    [
        ("deployment.yaml", "readinessProbe:", "readynessProbe:"),
        ("deployment.yaml", "maxSurge:", "maxsurge:"),
        ("gateway.yaml", "terminationGracePeriodSeconds:", "terminationGracePeriod:"),
        ("networkpolicy.yaml", "policyTypes:", "policyType:"),
        ("poddisruptionbudget.yaml", "maxUnavailable:", "maxUnavailble:"),
        ("servicemonitor.yaml", "interval:", "intervall:"),
        ("autoscaling.yaml", "stabilizationWindowSeconds:", "stabilisationWindowSeconds:"),
        ("autoscaling.yaml", "minReplicaCount:", "minReplicas:"),
        ("service.yaml", "publishNotReadyAddresses:", "publishNotReady:"),
    ],
)
def test_a_misspelt_field_is_found(template: str, old: str, new: str, tmp_path: Path) -> None:
    chart = Path(shutil.copytree(CHART, tmp_path / "bertserve"))
    path = chart / "templates" / template
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    values = {
        **USUAL,
        "autoscaling": {"kind": "keda"},
        "monitoring": {"serviceMonitor": {"enabled": True}},
    }
    found = rendered(values, chart)
    with pytest.raises(ValidationError):
        list(map(validate, found))


@pytest.mark.parametrize("tls", [{}, {"tls": {"secret": "certificate"}}], ids=["plain", "tls"])
def test_haproxy_takes_its_configuration(tls: dict[str, Any], tmp_path: Path) -> None:
    haproxy = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if haproxy is None:
        pytest.skip("there is no haproxy")
    import trustme

    text = one(objects_of({**USUAL, **tls}), "ConfigMap", "demo-bertserve-gateway")["data"][
        "haproxy.cfg"
    ]
    certificate = trustme.CA().issue_cert("bertserve.example.com")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "tls.pem"))
    path = tmp_path / "haproxy.cfg"
    path.write_text(text.replace("/etc/haproxy/tls", str(tmp_path)))
    done = subprocess.run([haproxy, "-c", "-f", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


def test_the_gateway_looks_for_the_replicas(objects: list[Object]) -> None:
    gateway = one(objects, "ConfigMap", "demo-bertserve-gateway")["data"]["haproxy.cfg"]
    found = re.findall(r"server-template \S+ (\d+) (\S+?):(\d+) ", gateway)
    assert {(host, int(port)) for _, host, port in found} == {
        (f"demo-bertserve-replicas.{NAMESPACE}.svc.cluster.local", port) for port in (8000, 9000)
    }
    deployment = one(objects, "Deployment", "demo-bertserve")["spec"]
    scaler: Object = next(
        (each["spec"] for each in objects if "scaleTargetRef" in each.get("spec", {})), {}
    )
    most = scaler.get("maxReplicas", scaler.get("maxReplicaCount", deployment.get("replicas")))
    assert all(int(count) > most + 1 for count, _, _ in found)


def test_every_value_is_in_the_page() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    rows = table("docs/fleet.md", "value")
    documented = [name for row in rows for name in re.findall(r"[\w.]+", row)]
    assert {name.partition(".")[0] for name in documented} == set(values)
    for name in documented:
        found = values
        for key in name.split("."):
            assert key in found, name
            found = found[key]


def test_the_page_s_values_are_taken() -> None:
    (text,) = blocks("docs/fleet.md", "values")
    for each in rendered(yaml.safe_load(text)):
        validate(each)


def test_the_test_of_helm_is_a_program(tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("a-token-of-the-tests\n")
    code = (CHART / "files" / "classify.py").read_text()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, "http://127.0.0.1:1", "", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Connection refused" in done.stderr
    assert done.returncode == 1
