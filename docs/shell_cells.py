"""Run in every kernel at its start: the cell magic `%%bash` with stdout and stderr as one text, in order.

IPython's own hands them on in pieces of 100 bytes, of which MyST-NB makes lines.
"""

import os
import subprocess

from IPython import get_ipython


def bash(line: str, cell: str) -> None:
    """Run a cell in bash and print its output; raises RuntimeError if a command fails."""
    environment = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    done = subprocess.run(
        ["bash", *line.split(), "-c", cell],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout, end="")
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}")


get_ipython().register_magic_function(bash, "cell")
