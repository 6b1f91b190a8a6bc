"""A run's folder before and after its search: written, sent to a cluster, its answers brought home.

Nothing here loads torch, nor asks what the settings mean, so that these verbs answer at once.
"""

from nas_fpn.folder.cluster import Cluster, Seen
from nas_fpn.folder.fetch import Brought, continued, fetch_run
from nas_fpn.folder.start import COLUMN, data_files, setting_row, start_run
from nas_fpn.folder.submitted import (
    ANSWERS,
    FILE,
    Submitted,
    answers_here,
    read_submitted,
    write_submitted,
)

__all__ = [
    "ANSWERS",
    "COLUMN",
    "FILE",
    "Brought",
    "Cluster",
    "Seen",
    "Submitted",
    "answers_here",
    "continued",
    "data_files",
    "fetch_run",
    "read_submitted",
    "setting_row",
    "start_run",
    "write_submitted",
]
