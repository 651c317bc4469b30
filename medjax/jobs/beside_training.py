"""What a run needs to know of its images and nothing of its training: found in a thread of its own while that runs."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from medjax.jobs.draw_report import Examples, import_drawing, make_examples
from medjax.jobs.from_config import Config
from medjax.jobs.run_record import describe_leakage
from medjax.records import Dataset, Split


class Found(NamedTuple):
    """What was found."""

    leakage: dict[str, Any]  # see `describe_leakage`
    examples: Examples


class BesideTraining:
    """Finds it from `start` on; leaving the context does not wait for the end.

    Training leaves nothing idle, but what comes after it does: this has but one thread, and would have it alone there.
    """

    def __init__(self, config: Config, dataset: Dataset, splits: Sequence[Split]) -> None:
        self._arguments = config, dataset, splits
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="beside_training")
        self._found: Future[Found] | None = None

    def __enter__(self) -> "BesideTraining":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def start(self) -> None:
        """Begin, unless it was begun before."""
        if self._found is None:
            self._found = self._thread.submit(_find, *self._arguments)

    def result(self) -> Found:
        """Wait until all is found; raises what went wrong."""
        self.start()
        assert self._found is not None
        return self._found.result()


def _find(config: Config, dataset: Dataset, splits: Sequence[Split]) -> Found:
    found = Found(describe_leakage(config, dataset, splits), make_examples(config, dataset, splits))
    import_drawing()
    return found
