"""Where a model looks: the attention weights of a text, by numpy in float32, whatever runs the model.

Fast back ends never hold these weights whole. What is shown is computed once more, layer by layer, from the
model's files by the back end that stands on one page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from inkfish.backends.reference import ReferenceBackend
from inkfish.engine import check_ids
from inkfish.errors import ContextError, SettingError
from inkfish.generate.language_model import LanguageModel
from inkfish.weights import hub, native_folder, read

__all__ = ["LONGEST", "attentions"]

LONGEST = 128
"""Tokens: what a page can show, and 2 MB of numbers for each layer of GPT-2 XL."""


class Float32(Mapping[str, NDArray[np.float32]]):
    """Tensors that are made float32 when they are asked for: one at a time, not the whole model."""

    def __init__(self, tensors: Mapping[str, NDArray[np.generic]]) -> None:
        self.tensors = tensors

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return np.asarray(self.tensors[name], np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def attentions(model: LanguageModel, ids: Sequence[int]) -> Iterator[NDArray[np.float32]]:
    """Return an iterator over the layers: how much each of T tokens attends to each of them, (H, T, T).

    A row is one token: the weights with which the values of the tokens up to it are averaged; they add up
    to 1, and those of later tokens are 0. (Vaswani et al. 2017, section 3.2.1.)

    Args:
        model: as `inkfish.load` returns it; its files are read again, unless numpy runs it.
        ids: from 1 to `LONGEST`.

    Raises:
        SettingError: no ids, or one outside the vocabulary; or the model's files hold its weights only as the
            native back end reads them.
        ContextError: more than `LONGEST`, or than the context holds.
    """
    check_ids(ids, model.config, param="text")
    if not ids:
        raise SettingError("the text is empty; there is nothing to look at", param="text")
    most = min(LONGEST, model.config.n_positions)
    if len(ids) > most:
        raise ContextError(
            f"the text has {len(ids):,} tokens; attention is shown for at most {most}", param="text"
        )
    return numpy_backend(model).attentions(ids)


def numpy_backend(model: LanguageModel) -> ReferenceBackend:
    """Return the numpy back end with a model's weights.

    Raises:
        SettingError: its files do not hold them in a form that numpy has.
    """
    if isinstance(model.backend, ReferenceBackend):
        return model.backend
    folder = hub.find(model.name)
    if native_folder.is_native(folder):
        raise SettingError(
            "this model was exported for the native back end alone; look into the one that it was made from",
            param="model",
        )
    checkpoint = read(folder)
    return ReferenceBackend(checkpoint.config, Float32(checkpoint.tensors))
