"""From a model's name to a model that writes."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

from inkfish.backends import Backend
from inkfish.engine import check_whole
from inkfish.errors import MissingExtraError, ModelError, SettingError, SlowBackendWarning
from inkfish.generate.language_model import MAX_TOKENS, LanguageModel
from inkfish.sampling import Sampling
from inkfish.tokenizer import Tokenizer
from inkfish.weights import Model, hub, native_folder, read, read_model
from inkfish.weights.checkpoint import Checkpoint
from inkfish.weights.generation_config import GenerationDefaults

__all__ = ["CACHE", "load", "plan"]

SLOW = f"the native back end was not built, so numpy runs models, many times slower; {native_folder.REMEDY}"
CACHE = Path("~/.cache/inkfish")
"""Where weights are kept as the native back end reads them, with what was measured of them."""


def load(
    name: str | Path = "starter",
    *,
    backend: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    device: str | None = None,
    speculate: bool | None = None,
) -> LanguageModel:
    """Return a model, ready to write.

    Args:
        name: "starter" (shipped with inkfish), a folder of a model or of a run, or a fetched model.
        backend: "native" (float32, bfloat16, int8, int4), "torch" (float32, bfloat16, float16; on a GPU if
            there is one) or "reference" (float32, slow); None is native, or reference where native was not
            compiled, with a `SlowBackendWarning`.
        dtype: the type that the weights are held in; None or "auto" is the fastest that predicts nearly as
            float32 does (`inkfish.generate.gate`). Use "float32" to measure with; "int4" is
            taken only where it is asked for.
        threads: CPU threads of the native or the torch back end; None is one for each core.
        device: "cpu", "cuda" or another of torch's names, which implies the torch back end; "auto" is a GPU
            where torch finds one, else the CPU. None is the CPU, but for the torch back end like "auto".
        speculate: guess tokens by looking them up in the text so far, where that pays. None is yes where it
            changes no bit of any text (native), else no.

    Raises:
        ModelError: there is no such model, or it is damaged.
        TokenizerError: its vocabulary is damaged.
        SettingError: a back end, type or device that is not here.
        MissingExtraError: torch is not installed.
    """
    from inkfish.backends.native import NativeBackend  # here: the command line's help does not need it

    folder = hub.find(str(name))
    checkpoint, tokenizer = read_any(folder)
    config, generation = checkpoint.config, checkpoint.generation
    ends = [i for i in (*generation.eos_token_ids, checkpoint.eos) if i is not None and i < config.vocab_size]
    made = make_backend(folder, checkpoint, backend=backend, dtype=dtype, threads=threads, device=device)
    return LanguageModel(
        made,
        tokenizer,
        name=str(name),
        defaults=sampling_defaults(generation),
        max_tokens=generation.max_new_tokens or MAX_TOKENS,
        stop_ids=tuple(dict.fromkeys(ends)) or None,
        end_at_sentence=bool(generation.end_at_sentence),
        speculate=isinstance(made, NativeBackend) if speculate is None else speculate,
    )


def read_any(folder: Path) -> Model:
    """Read a model folder, or one that was exported to write with."""
    if not native_folder.is_native(folder):
        return read_model(folder)
    checkpoint = native_folder.read(folder)
    return Model(checkpoint, Tokenizer.load(folder, vocab_size=checkpoint.config.vocab_size))


def sampling_defaults(said: GenerationDefaults) -> Sampling:
    """Return the sampling that a folder's generation_config.json asks for; reading it checked the values."""
    fields: dict[str, Any] = {
        "temperature": said.temperature,
        "top_k": said.top_k,
        "top_p": said.top_p,
        "min_p": said.min_p,
        "repetition_penalty": said.repetition_penalty,
        "no_repeat_ngram": said.no_repeat_ngram_size,
    }
    return Sampling(**{name: value for name, value in fields.items() if value is not None})


def make_backend(
    folder: Path,
    checkpoint: Checkpoint,
    *,
    backend: str | None,
    dtype: str | None,
    threads: int | None,
    device: str | None = None,
) -> Backend:
    """Return the back end of that name with the weights of a model's folder.

    Raises:
        SettingError: no such back end here, or it has no such type, device or number of threads.
        MissingExtraError: it needs torch, which is not installed.
    """
    dtype = None if dtype == "auto" else dtype
    name = backend or ("torch" if wants_torch(device) else default_backend())
    if name != "torch" and device not in (None, "auto", "cpu"):
        raise SettingError(
            f"device is {device!r}; the {name} back end runs on the CPU: use torch, or leave the device out",
            param="device",
        )
    if native_folder.is_native(folder):
        return open_converted(folder, checkpoint, name=name, dtype=dtype, threads=threads)
    match name:
        case "native":
            return make_native(folder, checkpoint, dtype=dtype, threads=threads)
        case "reference":
            return make_reference(checkpoint, dtype=dtype, threads=threads)
        case "torch":
            return make_torch(checkpoint, dtype=dtype, threads=threads, device=device)
    raise SettingError(
        f'backend is {backend!r}; it must be "native", "reference" or "torch"', param="backend"
    )


def wants_torch(device: str | None) -> bool:
    """Whether a device is torch's to run on; of "auto" only where a GPU is there, to be found by torch."""
    if device != "auto":
        return device not in (None, "cpu")
    if not Path("/dev/nvidiactl").exists() or importlib.util.find_spec("torch") is None:
        return False  # torch takes a second to import; macOS and AMD say cuda or mps themselves
    import torch

    return torch.cuda.is_available()


def open_converted(
    folder: Path, checkpoint: Checkpoint, *, name: str, dtype: str | None, threads: int | None
) -> Backend:
    """Return the native back end for a folder that was exported for it.

    Raises:
        SettingError: another back end or type is wanted than the folder has.
        ModelError: the file is damaged or of another model.
    """
    from inkfish.backends import native

    if name != "native":
        raise SettingError(
            f"the back end is {name}, and {folder} was exported for the native one; "
            "use the model that it was made from",
            param="backend",
        )
    found = native.load_file(folder / native_folder.FILE, threads=threads)
    if found.config != checkpoint.config:
        raise ModelError(f"{folder / native_folder.FILE} and config.json are of two models; export it again")
    if dtype not in (None, found.dtype):
        raise SettingError(
            f"dtype is {dtype!r}, and {folder} holds {found.dtype}; use the model that it was made from",
            param="dtype",
        )
    return found


def default_backend() -> str:
    """Return the best back end that was installed; warn where that is the slow one."""
    from inkfish.backends import native  # here: the command line's help does not need it

    if native.available():
        return "native"
    warnings.warn(SLOW, SlowBackendWarning, stacklevel=4)
    return "reference"


def make_native(folder: Path, checkpoint: Checkpoint, *, dtype: str | None, threads: int | None) -> Backend:
    """Return the C++ back end."""
    from inkfish.generate import gate

    if dtype is None:
        return gate.choose(folder, checkpoint, cache=CACHE, threads=threads)
    return gate.open_native(folder, checkpoint, dtype=dtype, cache=CACHE, threads=threads)


def plan(name: str | Path) -> dict[str, Any]:
    """Return what `load` would run a model with here, without converting anything.

    Back end, instruction set, the type and the bytes that its weights take; the type is "auto" where it is
    yet to be measured, which the first use does.

    Raises:
        ModelError: there is no such model, or it is damaged.
    """
    from inkfish.backends import native

    if not native.available():
        return {"back_end": "reference", "runs_as": "float32"}
    from inkfish.generate import gate

    folder = hub.find(str(name))
    known, config = gate.recall(folder, CACHE), read(folder).config
    dtype = gate.decide(config, known)
    return {
        "back_end": "native",
        "instruction_set": native.supported()[-1],
        "runs_as": dtype or "auto",
        "divergence": known or None,
        "bytes_of_weights": None if dtype is None else sum(native.tensor_sizes(config, dtype)),
    }


def make_reference(checkpoint: Checkpoint, *, dtype: str | None, threads: int | None) -> Backend:
    """Return the numpy back end."""
    from inkfish.backends import reference

    if dtype not in (None, "float32"):
        raise SettingError(
            f"dtype is {dtype!r}; the reference back end has float32 only, the others have more",
            param="dtype",
        )
    if threads is not None:
        raise SettingError(
            f"threads is {threads}; the reference back end leaves them to numpy: leave it out",
            param="threads",
        )
    return reference.load(checkpoint.config, checkpoint.tensors)


def make_torch(
    checkpoint: Checkpoint, *, dtype: str | None, threads: int | None, device: str | None
) -> Backend:
    """Return the torch back end."""
    if threads is not None:
        check_whole("threads", threads, 1)
    try:
        from inkfish.backends.torch import load as load_torch
    except ModuleNotFoundError:
        raise MissingExtraError("the torch back end", "train") from None
    where = None if device == "auto" else device
    return load_torch(checkpoint.config, checkpoint.tensors, dtype=dtype, threads=threads, device=where)
