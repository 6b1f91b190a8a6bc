"""What stands in ``deploy/``, held against what can judge it without a cluster or an account."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from nas_fpn.cli import app

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
KUBERAY = sorted((DEPLOY / "kuberay").glob("*.yaml"))
RAY_UP = sorted((DEPLOY / "ray_up").glob("*.yaml"))
SBATCH = DEPLOY / "slurm" / "search.sbatch"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())

# The fields of KubeRay 1.6 that we write, from its API reference (ray.io/v1), by type.
FIELDS = {
    "RayCluster": {"apiVersion": str, "kind": str, "metadata": dict, "spec": "RayClusterSpec"},
    "RayJob": {"apiVersion": str, "kind": str, "metadata": dict, "spec": "RayJobSpec"},
    "RayJobSpec": {
        "entrypoint": str,
        "entrypointNumGpus": (int, float),
        "shutdownAfterJobFinishes": bool,
        "ttlSecondsAfterFinished": int,
        "backoffLimit": int,
        "rayClusterSpec": "RayClusterSpec",
    },
    "RayClusterSpec": {
        "rayVersion": str,
        "authOptions": "AuthOptions",
        "enableInTreeAutoscaling": bool,
        "autoscalerOptions": "AutoscalerOptions",
        "headGroupSpec": "HeadGroupSpec",
        "workerGroupSpecs": ["WorkerGroupSpec"],
    },
    "AuthOptions": {"mode": str},
    "AutoscalerOptions": {"upscalingMode": str, "idleTimeoutSeconds": int},
    "HeadGroupSpec": {"rayStartParams": dict, "template": "PodTemplate"},
    "WorkerGroupSpec": {
        "groupName": str,
        "replicas": int,
        "minReplicas": int,
        "maxReplicas": int,
        "rayStartParams": dict,
        "template": "PodTemplate",
    },
}


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def faults(value: Any, kind: Any, where: str) -> Iterator[str]:
    """What of a value is not as its type in FIELDS has it; all its fields are needed."""
    if isinstance(kind, list):
        for i, one in enumerate(value):
            yield from faults(one, kind[0], f"{where}[{i}]")
    elif kind == "PodTemplate":
        if not value.get("spec", {}).get("containers"):
            yield f"{where}: no containers"
    elif isinstance(kind, str):
        known = FIELDS[kind]
        yield from (f"{where}.{name}: unknown" for name in set(value) - set(known))
        for name in known:
            if name in value:
                yield from faults(value[name], known[name], f"{where}.{name}")
            else:
                yield f"{where}.{name}: missing"
    elif not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        yield f"{where}: {value!r}"


def clusters() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in KUBERAY:
        for one in documents(path):
            if one["kind"] == "RayCluster":
                yield path.name, one["spec"]
            elif one["kind"] == "RayJob":
                yield path.name, one["spec"]["rayClusterSpec"]


def templates() -> list[Any]:
    found = []
    for name, spec in clusters():
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            title = f"{name}:{group.get('groupName', 'head')}"
            found.append(pytest.param(group["template"], id=title))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(DEPLOY).as_posix())
def test_every_file_says_what_of_it_is_untested(path: Path) -> None:
    head = path.read_text(encoding="utf-8").split("\n\n")[0]
    assert "UNTESTED" in head


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.name)
def test_kuberay_fields_are_those_of_its_api(path: Path) -> None:
    for one in documents(path):
        if one["apiVersion"] == "ray.io/v1":
            assert list(faults(one, one["kind"], one["kind"])) == []


@pytest.mark.parametrize("template", templates())
def test_pod_templates_are_those_of_kubernetes(template: dict[str, Any]) -> None:
    """By the classes of Kubernetes' client: what they do not know would be lost in between."""
    kubernetes = pytest.importorskip("kubernetes", reason="needs Kubernetes' Python client")
    api = kubernetes.client.ApiClient()
    read = api.deserialize(json.dumps(template), "V1PodTemplateSpec", "application/json")
    assert api.sanitize_for_serialization(read) == template


def test_volume_claims_are_there_and_shared() -> None:
    claims = {
        one["metadata"]["name"]: one["spec"]
        for path in KUBERAY
        for one in documents(path)
        if one["kind"] == "PersistentVolumeClaim"
    }
    for _, spec in clusters():
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            pod = group["template"]["spec"]
            (volume,) = pod["volumes"]
            claim = claims[volume["persistentVolumeClaim"]["claimName"]]
            assert claim["accessModes"] == ["ReadWriteMany"]
            for container in pod["containers"]:
                assert container["volumeMounts"] == [
                    {"name": volume["name"], "mountPath": "/shared"}
                ]


def test_workers_have_gpus_limits_and_room_to_grow() -> None:
    for _, spec in clusters():
        assert spec["enableInTreeAutoscaling"]
        assert spec["authOptions"]["mode"] == "token"
        assert spec["autoscalerOptions"]["upscalingMode"] in ("Default", "Conservative")
        for group in spec["workerGroupSpecs"]:
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
            (container,) = group["template"]["spec"]["containers"]
            resources = container["resources"]
            assert resources["requests"] == resources["limits"]
            assert int(resources["limits"]["nvidia.com/gpu"]) >= 1


def test_all_files_name_one_ray_and_one_image() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in FILES)
    rays = set(re.findall(r'rayVersion: "([\d.]+)"|rayproject/ray:([\d.]+)-|\]==([\d.]+)"', text))
    assert len({next(filter(None, found)) for found in rays}) == 1
    images = set(re.findall(r"registry\.example\.org/\S+", text))
    assert images == {f"registry.example.org/nas-fpn:{version('nas-fpn')}"}


@pytest.mark.parametrize("path", RAY_UP, ids=lambda path: path.name)
def test_ray_up_files_are_valid_by_rays_own_schema(path: Path) -> None:
    util = pytest.importorskip("ray.autoscaler._private.util", reason="needs Ray's launcher")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    (config,) = documents(path)
    jsonschema.validate(config, schema)
    filled = util.prepare_config(config)
    util.validate_config(filled)
    assert filled["head_node_type"] in filled["available_node_types"]


@pytest.mark.parametrize("path", RAY_UP, ids=lambda path: path.name)
def test_ray_up_clusters_ask_for_a_token_and_show_no_dashboard(path: Path) -> None:
    (config,) = documents(path)
    assert "~/.ray/auth_token" in config["file_mounts"]
    starts = [
        row
        for role in ("head", "worker")
        for row in config[f"{role}_start_ray_commands"]
        if "ray start" in row
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in row for row in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]


def test_the_commands_of_the_files_are_verbs_that_there_are() -> None:
    verbs = {command.name for command in app.registered_commands}
    text = "\n".join(path.read_text(encoding="utf-8") for path in FILES)
    named = set(re.findall(r"nas-fpn (\w+) (?:runs|/shared|\"\$run)", text))
    assert named == {"search", "submit"}
    assert named <= verbs


# SLURM


def test_the_slurm_script_is_clean() -> None:
    subprocess.run(["bash", "-n", str(SBATCH)], check=True)
    beside = Path(sys.executable).with_name("shellcheck")
    check = shutil.which("shellcheck") or (str(beside) if beside.is_file() else None)
    if check is None:
        pytest.skip("needs shellcheck")
    done = subprocess.run([check, str(SBATCH)], capture_output=True, text=True, check=False)
    assert done.stdout == ""


FAKES = {
    # srun runs its command here, in its own process, as the node that it is asked for.
    "srun": """
        while [[ $1 == --* ]]; do
            case $1 in --nodelist=*) export NODE=${1#*=} ;; esac
            shift
        done
        exec "$@"
    """,
    "scontrol": 'for i in 1 2 3; do echo "node-$i"; done',
    "hostname": "echo 127.0.0.1 10.0.0.1",
    "python": 'exec "$REAL_PYTHON" "$@"',
    "ray": """
        echo "ray $NODE $*" >>"$LOG"
        case $1 in
            start) touch "$LOG.$NODE"; trap 'echo "gone $NODE" >>"$LOG"; exit 0' TERM
                   while :; do sleep 0.05; done ;;
            status) [[ -e $LOG.node-1 ]] ;;
        esac
    """,
    "nas-fpn": """
        echo "nas-fpn ${#RAY_AUTH_TOKEN} $RAY_AUTH_MODE $*" >>"$LOG"
        exec "$REAL_PYTHON" "$SEARCH" "$LOG"
    """,
}
SEARCH = """
import sys, time

def note(line):
    with open(sys.argv[1], "a") as log:  # closed by hand: a finaliser swallows an interrupt
        log.write(line)

try:
    {body}
except KeyboardInterrupt:
    note("interrupted\\n")
    sys.exit(130)
"""


def heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def started(folder: Path, *, body: str) -> tuple[subprocess.Popen[str], Path]:
    """The script with fakes of all that it calls, in a folder."""
    log = folder / "log"
    fakes = folder / "bin"
    fakes.mkdir()
    for name, text in FAKES.items():
        path = fakes / name
        path.write_text(f"#!{shutil.which('bash')}\n{text}")
        path.chmod(0o755)
    (folder / "search.py").write_text(SEARCH.format(body=body))
    environment = {
        "PATH": f"{fakes}:{os.environ['PATH']}",
        "HOME": str(folder),
        "LOG": str(log),
        "SEARCH": str(folder / "search.py"),
        "REAL_PYTHON": sys.executable,
        "SLURM_JOB_ID": "12345",
        "SLURM_JOB_NODELIST": "node-[1-3]",
        "SLURM_CPUS_PER_TASK": "8",
        "SLURM_GPUS_ON_NODE": "2",
    }
    script = subprocess.Popen(
        ["bash", str(SBATCH), "runs/mine", "--workers", "6"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # Who runs the tests in the background may ignore it, and a shell cannot undo that.
        preexec_fn=heed_interrupts,
    )
    return script, log


def test_the_slurm_script_starts_the_head_then_a_worker_on_each_other_node(tmp_path: Path) -> None:
    script, log = started(tmp_path, body="time.sleep(0.5)")
    out, _ = script.communicate(timeout=60)
    assert script.returncode == 0, out
    rows = log.read_text().splitlines()
    starts = [row for row in rows if " start " in row]
    assert starts[0].startswith("ray node-1 start --head --block --node-ip-address=127.0.0.1 ")
    assert "--num-cpus=8 --num-gpus=2" in starts[0]
    assert {row.split()[1] for row in starts[1:]} == {"node-2", "node-3"}
    assert all("--address=127.0.0.1:22345" in row for row in starts[1:])
    assert "nas-fpn 64 token search runs/mine --address 127.0.0.1:22345 --workers 6" in rows
    assert {row for row in rows if row.startswith("gone")} == {f"gone node-{i}" for i in (1, 2, 3)}


def test_the_slurm_script_fails_as_the_search_does(tmp_path: Path) -> None:
    script, _ = started(tmp_path, body="sys.exit(2)")
    script.communicate(timeout=60)
    assert script.returncode == 2


def test_the_slurm_script_interrupts_the_search_before_the_time_is_over(tmp_path: Path) -> None:
    body = 'note("searching\\n"); time.sleep(60)'
    script, log = started(tmp_path, body=body)
    while not log.is_file() or "searching" not in log.read_text():
        assert script.poll() is None
        time.sleep(0.05)
    os.kill(script.pid, signal.SIGUSR1)  # as --signal=B:USR1@300
    out, _ = script.communicate(timeout=60)
    assert script.returncode == 130, out
    assert "the search stops, and the same command goes on from there" in out
    rows = log.read_text().splitlines()
    assert rows.index("interrupted") < rows.index("gone node-1")
