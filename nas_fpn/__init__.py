"""Find the right feature-pyramid neck for your own detector and data.

Nothing is imported here, so that each floor of the package can be imported alone:
``nas_fpn.language`` (no torch), ``nas_fpn.necks``, ``nas_fpn.detect``, ``nas_fpn.proxy``,
``nas_fpn.search``, ``nas_fpn.export``.
"""
