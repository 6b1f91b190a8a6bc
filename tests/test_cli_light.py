"""Small verbs answer at once: they load neither torch nor what comes with it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nas_fpn.cli import main

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "torchvision", "timm", "numpy", "pandas", "optuna", "scipy", "pyarrow", "PIL")
PROGRAM = f"""
import json, sys
from nas_fpn.cli import main
told = []
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as end:
        told.append(end.code or 0)
import nas_fpn.search.launch  # what status, stop and fetch ask a cluster with
print(json.dumps([told, [name for name in {HEAVY} if name in sys.modules]]))
"""


def test_small_verbs_load_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.json").write_text("{}")
    mine, other, data = (str(tmp_path / name) for name in ("mine", "other", "data"))
    verbs = {
        (): 2,
        ("--help",): 0,
        ("--version",): 0,
        ("search", "--help"): 0,
        ("init", mine): 0,
        ("init", other, "--data", data): 0,
        ("status", mine): 2,
        ("stop", mine): 2,
        ("fetch", mine): 2,
    }
    run = [sys.executable, "-c", PROGRAM, json.dumps([*verbs])]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [[*verbs.values()], []]


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.startswith("nas-fpn")
