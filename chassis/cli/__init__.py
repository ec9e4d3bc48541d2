"""The command `chassis`: run a service, and explain its configuration.

>>> from chassis.cli import main
>>> try:
...     main(["--version"])
... except SystemExit as end:
...     end.code
cq-chassis 0.1.0
0
"""

from chassis.cli.main import main

__all__ = ["main"]
