"""Workers without JAX: what speaks as a worker does, to test what starts workers."""

import os
import sys

from medjax.scale.engine import Workers

# Takes paths as arguments, or from stdin. It notes each, dies of "die", and waits until it is stopped at "wait"; at "hang" no
# SIGTERM stops it.
SCRIPT = """
import os, signal, sys, time
def do(path):
    name = path.strip().rsplit("/", 1)[-1]
    if name == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(name, os.getpid(), os.environ.get("PJRT_NPROC"), file=open("asked.txt", "a"))
    if name == "die":
        os._exit(1)
    while name == "wait":
        time.sleep(0.05)
    if name == "hang":
        time.sleep(30)
for path in sys.argv[1:]:
    do(path)
for line in (sys.stdin if not sys.argv[1:] else ()):
    do(line)
    print("over", flush=True)
"""


class ScriptWorkers(Workers):
    """Workers that run the script."""

    @property
    def words(self):
        return [sys.executable, "-c", SCRIPT]

    @property
    def environment(self):
        return {**os.environ, **self.variables}


def asked(folder):
    """The names that workers were asked for in a working directory, each with the process and its threads."""
    path = folder / "asked.txt"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def is_running(pid):
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True
