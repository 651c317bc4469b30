"""An engine without processes: every fit in this one, one after the other."""

from medjax.scale import many_fits
from medjax.scale.choose_engine import Choice
from medjax.scale.worker import do_fit
from medjax.training.threads import count_threads


class Here:
    """Notes what it was asked for; `before` is called with the path of each fit, and may raise."""

    def __init__(self, before=lambda path: None):
        self.asked, self._before = [], before

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, fits, tell):
        for path in fits:
            self.asked.append(path.stem)
            self._before(path)
            do_fit(path)
            tell(path)


def use(monkeypatch, engine, module=many_fits):
    """Let --on mean this engine."""
    choice = Choice(lambda workers: engine, count_threads(), "here")
    monkeypatch.setattr(module, "choose_engine", lambda on, threads: choice)
    return engine
