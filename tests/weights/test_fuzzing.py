"""The long tier: coverage-guided fuzzing for half a minute, where `atheris` is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzz_files.py")


@pytest.mark.slow
def test_no_input_escapes_as_anything_but_a_model_error(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    command = [sys.executable, str(SCRIPT), "-max_total_time=30"]
    # A shell between: a process inherits the peak of memory, which the fuzzer measures, of its parent.
    command = ["bash", "-c", '"$@"; exit $?', "bash", *command]
    source = str(SCRIPT.parents[2] / "src")
    result = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Done" in result.stderr
    assert not list(tmp_path.glob("crash-*"))
