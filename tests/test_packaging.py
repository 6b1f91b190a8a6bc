"""What is installed finds the spaces and controllers that it brings."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_wheel_finds_what_it_ships(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    assert {path.name for path in installed.iterdir()} == {
        "nas_fpn",
        wheel.name.replace("-py3-none-any.whl", ".dist-info"),
    }
    program = (
        "from nas_fpn.language import find_space, read, size\n"
        "from nas_fpn.search.loading import find_controller\n"
        "print(size(read(find_space('nas_fpn'))))\n"
        "from pathlib import Path\n"
        "from nas_fpn.folder import start_run\n"
        "assert start_run(Path('mine')).read_text().startswith('# mine:')\n"
        "from nas_fpn.record import History\n"
        "from nas_fpn.report import Opened, report_html\n"
        "assert '<script' in report_html([Opened('bare', History())])\n"
        "print(find_space('baselines/fpn'))\nprint(find_controller('random_search'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    number, *paths = done.stdout.splitlines()
    assert number == "1545067560960000000"
    assert all(Path(path).is_relative_to(installed) for path in paths)
