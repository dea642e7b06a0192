"""No text of users, files or errors is parsed as markup, wherever the command line prints it."""

import contextlib
import io
import re
from pathlib import Path

import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st
from rich.text import Text
from typer.testing import CliRunner

from quasarloop.cli import app
from quasarloop.cli.common import (
    name_bad_files,
    plain_console,
    print_error,
    print_table,
    progress_bar,
    two_columns,
)
from quasarloop.evaluate.figures import save_figure, use_style

words = st.text("[]/\\abc:=@#.$_{}- redbold", min_size=1, max_size=30).map(str.strip).filter(bool)


def printed(function, *arguments, wide="400"):
    """What a function prints on both streams, in a wide terminal."""
    stream = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(stream),
        contextlib.redirect_stderr(stream),
        contextlib.suppress(typer.Exit),
    ):
        patch.setenv("COLUMNS", wide)
        function(*arguments)
    return stream.getvalue()


def show_progress(text):
    with progress_bar() as bar:
        bar.add_task(text, total=1, note=text)


@given(words)
@example("name them under [data] in campaign.toml")
@example("spec[old].fits")
@example("br[/x]/spec.fits")
@example(":smile: [link=x]y[/link]")
def test_text_is_printed_as_it_is(text):
    assert text in printed(print_error, text, text)
    assert printed(print_table, text, [text, ""], [[text, ""]]).count(text) >= 3
    assert text in printed(plain_console().print, two_columns(text, {text: text}))
    assert text in printed(name_bad_files, [(Path("a"), ValueError(text))])
    assert printed(show_progress, text).count(text) >= 2


@given(words.filter(lambda text: not text.startswith("-")))
@example("br[/x]/spec.fits")
def test_a_wrong_word_is_repeated_as_it_was_given(text):
    done = CliRunner().invoke(app, ["campaign", text])
    assert done.exit_code == 2
    shown = re.sub(r"[\s│]", "", done.output).replace("\\\\", "\\")
    assert f"Nosuchcommand'{''.join(text.split())}'" in shown


def test_help_has_no_markup_but_its_examples():
    def walk(command, name):
        own = re.sub(r"\[bold\](.*?)\[/\]", r"\1", command.help or "", flags=re.DOTALL)
        texts = [own, *(getattr(p, "help", None) or "" for p in command.params)]
        for text in texts:
            assert Text.from_markup(text).plain == text, f"{name}: brackets in {text!r}"
        for child in getattr(command, "commands", {}).values():
            walk(child, f"{name} {child.name}")

    walk(typer.main.get_command(app), "quasarloop")


def test_consoles_are_made_in_one_place():
    source = Path(__file__).parents[2] / "src" / "quasarloop"
    makers = [p.name for p in source.rglob("*.py") if re.search(r"\bConsole\(", p.read_text())]
    assert makers == ["common.py"]


def test_dollars_of_a_file_name_are_no_mathematics(tmp_path):
    with use_style():
        from matplotlib.figure import Figure

        figure = Figure()
        figure.subplots().set_title(r"cat$\frac$.fits")
        save_figure(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0
