"""`inkfish models`: what models there are, what is in one, how they come, go and are exported."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from inkfish.cli.options import examples
from inkfish.cli.output import Output, as_json, check_target, note
from inkfish.cli.runs import compared, pictured, runs_in
from inkfish.errors import InkfishError, SettingError
from inkfish.weights import hub

__all__ = ["app"]

app = App(
    name="models",
    help="List, inspect, fetch, remove, import and export models.",
    help_epilogue=examples(
        "inkfish models list",
        "inkfish models list --compare runs/one --compare runs/two --out curves.png",
        "inkfish models show starter",
        "inkfish models pull gpt2",
        "inkfish models import checkpoint/run1 --name poems",
        "inkfish models export poems --format gguf --out poems.gguf",
    ),
)

Json = Annotated[bool, Parameter(name="--json")]
SIZES = {"K": 10**3, "M": 10**6, "G": 10**9}
UNITS = {
    "bytes_on_disk": "size on disk",
    "bytes_to_write": "memory to write",
    "bytes_to_train": "memory to train",
    "bytes_of_weights": "weights in memory",
}
"""Facts that are shown in megabytes, and what they are called then."""


def megabytes(size: int) -> str:
    """Write a number of bytes for people."""
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"


def in_words(name: str, value: Any) -> str:
    """Write one fact for a table."""
    if value is None:
        return "not said"
    if name in UNITS:
        return megabytes(value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Lay rows out in columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(line.rstrip() + "\n" for line in lines)


def state(name: str) -> str:
    """Say whether a model can be used at once."""
    try:
        hub.find(name)
    except InkfishError:
        return "not fetched"
    return "ready"


@app.command(name="list")
def list_models(*, compare: tuple[Path, ...] = (), out: Path | None = None, json: Json = False) -> None:
    """List the models that have a name, whether they are on this machine, and the runs in `runs/`.

    Args:
        compare: Instead show the held-out scores of this run beside those of others (repeatable).
        out: With compare, also draw their curves as a PNG.
        json: Print JSON.
    """
    if compare:
        compare_runs(compare, out)
        return
    source = {"starter": "shipped with inkfish", **hub.KNOWN}
    source |= {name: str(folder) for name, folder in hub.stored() if name not in source}
    rows = [(name, state(name), place) for name, place in source.items()]
    runs = list(runs_in())
    if json:
        value = [{"model": name, "source": place, "ready": found == "ready"} for name, found, place in rows]
        value += [{"model": each.name, "source": each.base, "ready": True} for each in runs]
        Output().write(as_json(value) + "\n")
    else:
        rows += [(each.name, f"{each.step:,} steps", f"from {each.base}{scored(each.best)}") for each in runs]
        Output().write(table(rows))
        note(f"fetched and imported models are in {hub.default_store()}")


def scored(best: float | None) -> str:
    """Return a run's best score for a table."""
    return "" if best is None else f", {best:.3f} bits a byte"


def compare_runs(runs: Sequence[Path], out: Path | None) -> None:
    """Print the scores of runs side by side, and draw them."""
    Output().write(table(compared(runs)))
    if out is not None:
        check_target(out)
        out.write_bytes(pictured(runs))
        note(f"curves in {out}")


@app.command
def show(model: str = "starter", /, *, json: Json = False) -> None:
    """Show a model's shape, size, licence, memory, sampling defaults, and how it would run here.

    Args:
        model: A model's name or folder.
        json: Print JSON.
    """
    from inkfish.generate.loading import plan
    from inkfish.weights.facts import describe

    facts = describe(model, hub.find(model)) | plan(model)
    if json:
        Output().write(as_json(facts) + "\n")
    else:
        rows = [(UNITS.get(key, key.replace("_", " ")), in_words(key, value)) for key, value in facts.items()]
        Output().write(table(rows))


@app.command
def pull(name: str, /, *, revision: str | None = None) -> None:
    """Fetch a GPT-2 from the Hugging Face hub: resumed where it was interrupted, and checked.

    Args:
        name: gpt2, gpt2-medium, gpt2-large, gpt2-xl, distilgpt2, or a repository as OWNER/NAME.
        revision: A branch, tag or commit; by default the newest.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    from inkfish.weights.download import fetch, offer
    from inkfish.weights.facts import memory_to_write

    wanted = offer(name, revision=revision)
    note(
        f"{name} is {wanted.repository} at {wanted.revision[:12]}: {wanted.config.parameters:,} parameters, "
        f"{megabytes(wanted.size)} to fetch, {megabytes(memory_to_write(wanted.config))} of memory to write"
    )
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=wanted.size)
        for sign in fetch(wanted):
            bar.update(task, completed=sign.done)
            if sign.trouble:
                note(f"{sign.trouble}: waiting for a moment")
    note(f"fetched to {hub.place(name, hub.default_store())}; inkfish write --model {name}")


@app.command
def rm(name: str, /) -> None:
    """Remove a model that was fetched or imported.

    Args:
        name: Its name (see `inkfish models list`).
    """
    note(f"removed {hub.remove(name)}")


@app.command(name="import")
def import_model(folder: str, /, *, name: str, base: str | None = None, heads: int | None = None) -> None:
    """Copy a model folder into inkfish's own, whatever tool wrote it; every value is checked.

    Reads Hugging Face folders, runs of inkfish, OpenAI's released files, and what gpt-2-simple and
    nshepperd/gpt-2 leave in checkpoint/run1, without TensorFlow. A LoRA adapter is merged into its base.

    Args:
        folder: The folder.
        name: What to call the model from now on.
        base: The model that a LoRA adapter belongs to: its name or folder.
        heads: Attention heads, where a TensorFlow run has lost its hparams.json.
    """
    from inkfish.weights.importing import import_folder

    if heads is not None and heads < 1:
        raise SettingError(f"heads is {heads}; it must be a whole number, 1 or more", param="heads")
    under = None if base is None else hub.find(base)
    target = import_folder(hub.find(folder), name, base=under, n_head=heads)
    note(f"imported to {target}; inkfish write --model {name}")


@app.command
def export(
    model: str,
    /,
    *,
    format: Literal["hf", "gguf", "onnx", "openai", "native"],
    out: Path,
    dtype: Literal["float32", "bfloat16", "float16", "int8", "int4"] | None = None,
    base: str | None = None,
    shard_size: str = "5GB",
) -> None:
    """Write a model for other programs.

    Args:
        model: A model's name or folder.
        format: hf (a folder for transformers, vLLM and others), gguf (a file for llama.cpp and what is built
            on it), onnx (a file for ONNX Runtime), openai (a folder of TensorFlow files), native (a folder
            for inkfish alone, ready to write with).
        out: The folder or file to write.
        dtype: How weights are stored; by default as they are (hf), float16 (gguf), float32 (onnx, openai),
            int8 (native, which has int4 too).
        base: The model that a LoRA adapter belongs to; the two are written merged.
        shard_size: Weights of one file (hf); a larger model is written to several, with an index.
    """
    from inkfish.weights import export as exports
    from inkfish.weights import native_folder
    from inkfish.weights.importing import LICENCES, carried, opened

    if format in {"onnx", "openai"} and dtype not in {None, "float32"}:
        raise SettingError(f"dtype is {dtype}; {format} export has float32 only", param="dtype")
    if format == "native" and dtype == "float16":
        raise SettingError(
            "dtype is float16; native export has float32, bfloat16, int8 and int4", param="dtype"
        )
    if format != "native" and dtype in {"int8", "int4"}:
        raise SettingError(f"dtype is {dtype}; {format} stores floats, native has {dtype}", param="dtype")
    limit, folder = parse_size(shard_size), hub.find(model)
    checkpoint, tokenizer = opened(folder, None if base is None else hub.find(base))
    title = Path(model).resolve().name if "/" in model or model in {".", ".."} else model
    if format == "gguf":
        from inkfish.weights.export_gguf import to_gguf

        to_gguf(checkpoint, tokenizer, out, name=title, dtype=dtype or "float16")
    elif format == "onnx":
        from inkfish.weights.export_onnx import to_onnx

        to_onnx(checkpoint, out)
    elif format == "openai":
        exports.to_openai(checkpoint, tokenizer, out)
    elif format == "native":
        native_folder.write(checkpoint, tokenizer, out, dtype=dtype or "int8")
    else:
        exports.to_huggingface(
            checkpoint,
            tokenizer,
            out,
            name=title,
            dtype=dtype or ("float32" if checkpoint.dtype == "float64" else checkpoint.dtype),
            beside=carried(folder) if base is None else carried(folder, LICENCES),
            shard_size=limit,
        )
    note(f"written to {out}")


def parse_size(text: str) -> int:
    """Return the bytes that a size such as 500MB or 2.5GB means, decimal as in transformers.

    Raises:
        SettingError: it is none.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?) ?([KMG])B", text.upper())
    size = round(float(match[1]) * SIZES[match[2]]) if match else 0
    if size < 1:
        raise SettingError(f"shard_size is {text!r}; write it like 500MB or 5GB", param="shard_size")
    return size
