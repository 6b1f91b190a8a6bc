"""Whether the process that trains has still its hold on the CUDA device."""

import sys

from nas_fpn.errors import RunError

__all__ = ["check_device"]


def check_device(number: int) -> None:
    """After trial ``number`` has failed: not if the next trial can be trained in this process.

    An assert on the device, or a read out of bounds, breaks the process's hold on it for good, and
    all that is asked of it later fails as well. Memory that ran out leaves the device as it was.

    Raises:
        RunError: when it is broken.
    """
    torch = sys.modules.get("torch")  # not imported: commands that train nothing load this file
    if torch is None or not torch.cuda.is_initialized():
        return
    try:
        torch.cuda.synchronize()
    except RuntimeError as fault:
        said = str(fault).strip() or type(fault).__name__
        raise RunError(
            f"after trial {number}, which has failed, the CUDA device no longer answers this "
            f"process ({said.splitlines()[0]})\n"
            "every later trial would fail as well, so the search ends here; the same command, in a "
            "process of its own, goes on with the next trial"
        ) from fault
