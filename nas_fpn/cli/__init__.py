"""The words on the command line; each verb imports what it needs, so that small ones are quick.

Exit codes: 2 for wrong input (the message is on stderr), 1 for a run that failed, 130 for Ctrl-C.
"""

from nas_fpn.cli.verbs import app, main

__all__ = ["app", "main"]
