"""A run: the question in ``run.toml``, everything wired, and the answer beside it."""

from nas_fpn.run.settings import Run, RunSettings, read_run
from nas_fpn.run.start import data_files, run_toml, start_run

__all__ = ["Run", "RunSettings", "data_files", "read_run", "run_toml", "start_run"]
