"""The commands on docs/preferences.md are ones that the program takes, its limits are those of the guards."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from inkfish.cli import app
from inkfish.preferences.guards import Limits
from inkfish.recipes.prefer.queries import HELD_OUT

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "preferences.md").read_text("utf-8")
COMMANDS = re.findall(r"^inkfish [^\n]+|(?<=`)inkfish [^`\n]+", PAGE, re.MULTILINE)
TARGETS = re.findall(r"make ([\w-]+)", PAGE)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_understood(command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    app.parse_args(words, print_error=False, exit_on_error=False)


def test_make_has_what_is_said() -> None:
    assert {"prefer", "prefer-full"} <= set(TARGETS)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in TARGETS)
    assert (ROOT / "benchmarks" / "preferences.py").exists()


def test_make_says_what_the_program_takes() -> None:
    command = ["make", "-n", "-o", ".venv/.test", "VENV=.venv", "prefer-full", "DATA=stories/"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = re.findall(r"inkfish (prefer (?:[^\n&;\\]|\\\n)+)", said)
    assert len(lines) == 16
    for line in lines:
        words = shlex.split(line.replace("\\\n", " ").replace("$n", "150").replace("$run", "rloo"))
        app.parse_args(words, print_error=False, exit_on_error=False)


def test_limits_are_those_of_the_program() -> None:
    limits = Limits(kl=24.0)
    assert f"more than {limits.ratio:g}-fold" in PAGE
    assert f"by more than {limits.repetition:.0%}".replace("%", " points") in PAGE
    assert f"below {limits.entropy:.0%}".replace("%", " %") in PAGE
    assert f"below {limits.distinct:.0%}".replace("%", " %") in PAGE
    assert HELD_OUT == 1 / 5
    assert "one text of five" in PAGE
