from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from inkfish.errors import ModelError
from inkfish.weights import heads

VALUE = {"weight": np.arange(12, dtype=np.float32), "bias": np.array([0.25], np.float32)}


def test_written_and_read(tmp_path: Path) -> None:
    wanted = {"value": VALUE, "reward": {"weight": -VALUE["weight"]}}
    heads.write(tmp_path, wanted)
    found = heads.read(tmp_path)
    assert {name: set(head) for name, head in found.items()} == {
        "value": {"weight", "bias"},
        "reward": {"weight"},
    }
    for name, head in wanted.items():
        for part, tensor in head.items():
            assert np.array_equal(found[name][part], tensor)
    assert set(load_file(tmp_path / "heads.safetensors")) == {"value.weight", "value.bias", "reward.weight"}
    assert [path.name for path in tmp_path.iterdir()] == ["heads.safetensors"]


def test_no_heads(tmp_path: Path) -> None:
    heads.write(tmp_path, {})
    assert heads.read(tmp_path) == {}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {"lm_head.dense.weight": VALUE["weight"]},
            r"weight \(F32\) is no head, called NAME.weight or",
        ),
        ({"value.weight": np.arange(3)}, r"value.weight \(I64\) is no head"),
        ({"value.bias": VALUE["bias"]}, r"the head value has bias \(1,\); it must have weight \(C,\) and"),
        ({"value.weight": np.ones((1, 12), np.float32)}, r"weight \(1, 12\); it must"),
        ({"value.weight": VALUE["weight"], "value.bias": np.ones(2, np.float32)}, r"bias \(2,\)"),
        ({"value.weight": np.array([np.nan])}, "the head value holds values that are not finite"),
        (
            {"value.weight": VALUE["weight"], "reward.weight": np.ones(3, np.float32)},
            "the heads .* are of different widths; a model has one",
        ),
    ],
)
def test_refused(tmp_path: Path, tensors: dict[str, NDArray[Any]], message: str) -> None:
    save_file(tensors, tmp_path / "heads.safetensors")
    with pytest.raises(ModelError, match=message):
        heads.read(tmp_path)


def test_not_finite_is_not_written(tmp_path: Path) -> None:
    heads.write(tmp_path, {"value": VALUE})
    with pytest.raises(ModelError, match=r"value\.weight holds values that are not finite"):
        heads.write(tmp_path, {"value": {"weight": np.array([np.inf])}})
    assert np.array_equal(heads.read(tmp_path)["value"]["weight"], VALUE["weight"])
