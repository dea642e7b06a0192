"""Options of commands are made from options classes; messages are printed as they are."""

import sys
from dataclasses import MISSING, dataclass
from typing import Literal

import pytest
import typer
from typer.testing import CliRunner

from quasarloop import cli
from quasarloop.cli.common import OptionsOf, with_options
from quasarloop.errors import CampaignError, SelectionError
from quasarloop.options import check_options, option


@dataclass(frozen=True)
class Bread:
    flour: str = option(MISSING, "Which flour.")
    n_loaves: int = option(2, "How many loaves.", low=1)
    crust: Literal["soft", "hard"] = option("soft", "Which crust.")
    seeds: tuple[str, ...] = option(("rye",), "What is on it.")
    sliced: bool = option(False, "Whether sliced.")
    secret: int = option(7, "Not for people.")
    unnamed: int = 9

    def __post_init__(self):
        check_options(self, SelectionError)


def run(defaults, *words, **chosen):
    made = []
    app = typer.Typer()

    @app.command()
    @with_options(bread=OptionsOf(defaults, **chosen))
    def bake(*, place: str = "oven", bread: Bread) -> None:
        """Bake."""
        made.append((place, bread))

    result = CliRunner().invoke(app, list(words))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result, made


def test_options_take_defaults_names_and_limits_from_the_class():
    names = {"n_loaves": "--loaves"}
    _, made = run(Bread, "--flour", "spelt", "--loaves", "3", "--seeds", "a", "--seeds", "b",
                  "--sliced", "--place", "fire", names=names)  # fmt: skip
    assert made == [("fire", Bread("spelt", 3, "soft", ("a", "b"), sliced=True))]
    _, made = run(Bread, "--flour", "spelt")
    assert made == [("oven", Bread("spelt"))]
    assert run(Bread)[0].exit_code == 2, "flour is required"
    assert run(Bread, "--flour", "spelt", "--n-loaves", "0")[0].exit_code == 2
    with pytest.raises(SelectionError, match="crust is 'burnt'; known: soft, hard"):
        run(Bread, "--flour", "spelt", "--crust", "burnt")


def test_a_commands_own_defaults_and_choice_of_options():
    defaults = Bread("oat", n_loaves=5, secret=8, unnamed=1)
    _, made = run(defaults, leave_out=("secret",))
    assert made == [("oven", defaults)]
    text = run(defaults, "--help", leave_out=("secret",))[0].output
    assert "How many loaves" in text
    assert "soft|hard" in text
    assert "secret" not in text
    assert "unnamed" not in text
    assert "flour" not in run(defaults, "--help", only=("n_loaves",))[0].output


def test_brackets_of_a_message_are_not_markup(monkeypatch, capsys):
    def fail():
        raise CampaignError("name it under [data] in [bold]campaign.toml[/]")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit):
        cli.main()
    assert "error: name it under [data] in [bold]campaign.toml[/]" in capsys.readouterr().err


def test_commands_are_read_without_the_heavy_libraries():
    import subprocess

    code = (
        "import sys; import quasarloop.cli;"
        "print([m for m in ('torch', 'polars', 'pyarrow', 'pydantic') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
