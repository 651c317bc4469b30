"""Fits as the tasks of a Slurm job array, by a script that this writes: a line of a list is the description of a task.

Slurm's own variables give what depends on the cluster: SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_TIMELIMIT, SBATCH_GPUS and so on.
A task that is preempted is put back into the queue and continues from its last checkpoint. A minute before its time is
over it is told to stop; it saves, and is asked for again.
"""

import os
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from medjax.errors import refuse
from medjax.runs import directory as run_files
from medjax.scale.engine import Engine, Workers
from medjax.scale.on_local import stop
from medjax.training.strategies import count_cores

_TASK = "SLURM_ARRAY_TASK_ID"


def write_script(workers: Workers, fits: Sequence[Path]) -> Path:
    """Write the list of descriptions, and the script of a job array whose tasks each do the fit of a line of it."""
    listing, script = workers.folder / "slurm.txt", workers.folder / "slurm.sh"
    run_files.write_text(listing, "".join(f"{fit.absolute()}\n" for fit in fits), root=workers.folder)
    log = str(workers.folder.absolute() / "slurm_%a.log").replace("\\", "\\\\")
    lines = [
        "#!/bin/bash",
        "#SBATCH --job-name=medjax",
        f"#SBATCH --array=0-{len(fits) - 1}",
        "#SBATCH --ntasks=1",
        f"#SBATCH --cpus-per-task={workers.threads}",
        f"#SBATCH --output={shlex.quote(log)}",
        "#SBATCH --open-mode=append",
        "#SBATCH --requeue",
        # To the worker itself, which has taken the place of this shell.
        "#SBATCH --signal=B:TERM@60",
        f"cd {shlex.quote(os.getcwd())} || exit 1",
        *(f"export {name}={shlex.quote(value)}" for name, value in workers.variables.items()),
        f'fit=$(sed -n "$(({_TASK} + 1))p" {shlex.quote(str(listing.absolute()))})',
        f'exec {shlex.join(workers.words)} "$fit"',
    ]
    run_files.write_text(script, "\n".join(lines) + "\n", root=workers.folder)
    return script


class Slurm(Engine):
    """A job array of a cluster, waited for."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def __enter__(self) -> "Slurm":
        if shutil.which("sbatch") is None:
            remedy = "call it on a machine of the cluster, or give --on slurm:local"
            raise refuse("--on slurm", "there is no sbatch on this machine", remedy)
        return self

    def run(self, fits: Sequence[Path], tell: Callable[[Path], None]) -> None:
        """Submit the array, and wait for all of its tasks; by an exception it is cancelled."""
        script = write_script(self._workers, fits)
        # Its status is that of the tasks, some of which may fail; only run directories count.
        words = ["sbatch", "--wait", "--parsable", str(script)]
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            job = process.stdout.readline().strip().partition(";")[0]
            if not job:
                reason = process.stderr.read().strip().replace("\n", "; ")
                raise refuse("--on slurm", f"sbatch says: {reason}", f"see {script}")
            try:
                process.wait()
            except BaseException:
                subprocess.run(["scancel", job], check=False)
                process.terminate()
                raise
        for fit in fits:
            tell(fit)


class SlurmHere(Engine):
    """The same script on this machine, task by task, as many at a time as there are cores for."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._starting = threading.Lock()
        self._is_stopped = False

    def run(self, fits: Sequence[Path], tell: Callable[[Path], None]) -> None:
        """Run all tasks of the array; by an exception they are told to stop, and waited for."""
        script = write_script(self._workers, fits)
        count = max(1, count_cores() // self._workers.threads)
        threads = ThreadPoolExecutor(count, thread_name_prefix="task")
        tasks = [threads.submit(self._do, script, number, fit, tell) for number, fit in enumerate(fits)]
        try:
            for each in tasks:
                each.result()
        except BaseException:
            with self._starting:
                self._is_stopped = True
            stop([*self._processes])  # or the threads would wait for one that hangs
            raise
        finally:
            threads.shutdown(cancel_futures=True)

    def _do(self, script: Path, number: int, fit: Path, tell: Callable[[Path], None]) -> None:
        environment = {**os.environ, _TASK: str(number)}
        with self._starting, open(self._workers.folder / f"slurm_{number}.log", "ab") as log:
            if self._is_stopped:
                return
            process = subprocess.Popen(
                ["bash", str(script)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            self._processes.add(process)
        process.wait()
        self._processes.discard(process)
        tell(fit)
