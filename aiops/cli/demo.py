"""``aiops demo``: a real 503 on this machine."""

from aiops.demo.command import add_arguments, main

__all__ = ["add_arguments", "main"]
