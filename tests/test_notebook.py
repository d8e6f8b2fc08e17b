"""The notebook is what its text says, and runs from top to bottom on a tiny model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inkfish.config import ModelConfig
from inkfish.tokenizer import Tokenizer
from inkfish.tokenizer.vocabulary import END, Vocabulary
from inkfish.weights import huggingface

FOLDER = Path(__file__).parents[1] / "notebooks"


def as_text() -> Any:
    jupytext = pytest.importorskip("jupytext", reason="the extra [notebook] is not installed")
    return jupytext.read(FOLDER / "finetune.py")


def test_the_notebook_is_its_text() -> None:
    nbformat = pytest.importorskip("nbformat", reason="the extra [notebook] is not installed")
    text, notebook = as_text(), nbformat.read(FOLDER / "finetune.ipynb", as_version=4)
    cells = [[(cell.cell_type, cell.source) for cell in each.cells] for each in (text, notebook)]
    assert cells[0] == cells[1], "run: jupytext --sync notebooks/finetune.py"
    assert not any(cell.get("outputs") for cell in notebook.cells), "keep no outputs"


@pytest.mark.slow
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="the extra [notebook] is not installed")
    config = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=64, vocab_size=257)
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(0, 0.3, shape).astype("f4") for name, shape in config.tensor_shapes().items()}
    tokenizer = Tokenizer(Vocabulary({bytes([byte]): byte for byte in range(256)}, {END: 256}))
    huggingface.write(tmp_path / "tiny", config, tensors, tokenizer=tokenizer, eos=256)
    notebook = as_text()
    [parameters] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source = parameters.source.replace('"starter"', f'"{tmp_path / "tiny"}"').replace("30", "4")
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(FOLDER.parent / "src"), os.environ.get("PYTHONPATH", "")])
    )
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "50 documents" in said
    assert "finished: 4 steps" in said
    assert "--- after ---\nThe fox" in said
    assert (tmp_path / "runs" / "notebook-model.zip").is_file()
