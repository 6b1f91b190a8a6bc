"""How a folder is loaded by the two hubs: Hugging Face's, and torch's.

A model folder of the Hugging Face hub has ``config.json`` with the constructor's arguments and
``model.safetensors``; ``hub.py`` adds the class with ``from_pretrained``, for whoever has that
package. ``hubconf.py`` is torch's entry, which loads two folders in one interpreter, too.
"""

from collections.abc import Sequence

__all__ = ["hub_files"]

_HUB = '''\
"""For the Hugging Face hub: ``{name}.from_pretrained(FOLDER)``, ``push_to_hub(REPOSITORY)``."""

from huggingface_hub import PyTorchModelHubMixin
from {module} import {name} as Plain{name}

__all__ = ["{name}"]


class {name}(Plain{name}, PyTorchModelHubMixin):
    """What ``{module}.py`` defines, loaded and kept as the hub does it."""
'''

_HUBCONF = '''\
"""``torch.hub.load(FOLDER, "{module}", source="local")`` gives the {module} of this folder."""

import importlib.util
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

dependencies = [{dependencies}]

_FOLDER = Path(__file__).parent


def {module}(*, pretrained: bool = True) -> nn.Module:
    """Make the {module}, with its weights unless ``pretrained`` is false."""
    spec = importlib.util.spec_from_file_location("{module}_{id}", _FOLDER / "{module}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.{name}()
    if pretrained:
        made.load_state_dict(load_file(_FOLDER / "model.safetensors"))
    return made
'''


def hub_files(module: str, name: str, *, identity: str, needs: Sequence[str]) -> dict[str, str]:
    """``hub.py`` and ``hubconf.py`` for the class ``name`` of ``module.py``.

    ``needs`` are the packages that the module imports, ``identity`` is the neck's.
    """
    dependencies = ", ".join(f'"{package}"' for package in (*needs, "safetensors"))
    return {
        "hub.py": _HUB.format(module=module, name=name),
        "hubconf.py": _HUBCONF.format(
            module=module, name=name, id=identity, dependencies=dependencies
        ),
    }
