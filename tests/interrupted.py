"""Runs that are stopped while they train."""


def interrupt_after(monkeypatch, epoch, error=KeyboardInterrupt):
    """Raise when an epoch (from 0) has been recorded."""
    from medjax.jobs.train_folds import _Watcher

    original = _Watcher.tell

    def tell(self, number, *arguments):
        original(self, number, *arguments)
        if number == epoch:
            raise error

    monkeypatch.setattr(_Watcher, "tell", tell)
