"""``python -m nas_fpn.cli``: the verbs where no ``nas-fpn`` is on the path, as on a cluster."""

from nas_fpn.cli.verbs import main

if __name__ == "__main__":
    main()
