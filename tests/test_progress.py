import io

from rich.console import Console

from medjax import progress
from medjax.progress import Display


def test_off_a_terminal_only_lines_are_printed(capsys):
    with Display() as display:
        display.start("training")
        display.advance(5, 10, "loss 1")
        display.say("epoch 1/2: [done]")
    output = capsys.readouterr()
    assert output.err == "epoch 1/2: [done]\n"
    assert output.out == ""


def test_names_command_no_terminal_and_are_shown_as_they_are(capsys):
    with Display() as display:
        display.say("scans\x1b[31m\r:skull: [red]")
    assert capsys.readouterr().err == "scans\\x1b[31m\\r:skull: [red]\n"


def test_quiet_prints_nothing(capsys):
    with Display(is_quiet=True) as display:
        display.start("training")
        display.advance(5, 10)
        display.say("epoch 1/2")
    output = capsys.readouterr()
    assert output.err == output.out == ""


def test_on_a_terminal_a_bar_shows_the_note_and_the_pace(monkeypatch):
    screen = io.StringIO()

    def make_console(**_):
        return Console(file=screen, force_terminal=True, width=120)

    monkeypatch.setattr(progress, "Console", make_console)
    with Display() as display:
        display.start("training")
        display.advance(500, 1000, "epoch 1/2 loss 0.1234 accuracy 0.9876")
        display._bars.refresh()
    shown = screen.getvalue()
    assert "training" in shown
    assert "epoch 1/2 loss 0.1234 accuracy 0.9876" in shown
    assert "images/s" in shown


def test_progress_before_any_bar_is_ignored():
    with Display(is_quiet=True) as display:
        display.advance(1, 2)
