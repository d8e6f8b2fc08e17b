"""The commands on docs/finetuning.md are ones that the program takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from inkfish.cli import app

PAGE = (Path(__file__).parents[1] / "docs" / "finetuning.md").read_text("utf-8")
COMMANDS = re.findall(r"^inkfish [^\n]+|(?<=`)inkfish [^`\n]+", PAGE, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_understood(command: str) -> None:
    words = shlex.split(command.replace("\\|", "|"), comments=True)[1:]
    app.parse_args(words, print_error=False, exit_on_error=False)


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 12
