"""A neck leaves for good: a folder that needs torch and nothing of this package."""

from nas_fpn.export.adapters import adapter_names, check_adapters, write_adapters
from nas_fpn.export.deploy import deployed_weights
from nas_fpn.export.folder import export_neck
from nas_fpn.export.form import PLAIN, Form
from nas_fpn.export.formats import FORMATS, write_formats
from nas_fpn.export.imports import import_neck
from nas_fpn.export.own import check_exportable
from nas_fpn.export.published import from_published, published_names
from nas_fpn.export.published_weights import neck_with_weights, read_checkpoint
from nas_fpn.export.source import neck_source
from nas_fpn.export.with_backbone import WITH_BACKBONE, BackboneParts, add_backbone

__all__ = [
    "FORMATS",
    "PLAIN",
    "WITH_BACKBONE",
    "BackboneParts",
    "Form",
    "adapter_names",
    "add_backbone",
    "check_adapters",
    "check_exportable",
    "deployed_weights",
    "export_neck",
    "from_published",
    "import_neck",
    "neck_source",
    "neck_with_weights",
    "published_names",
    "read_checkpoint",
    "write_adapters",
    "write_formats",
]
