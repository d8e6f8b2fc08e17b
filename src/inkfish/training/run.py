"""The run folder: `config.toml`, `metrics.jsonl`, a kernel lock, `checkpoints/`, `last` and `best`."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from inkfish.errors import RunError
from inkfish.heads import ScalarHead
from inkfish.model import GPT2
from inkfish.training import lora
from inkfish.training.checkpoints import Checkpoints, Progress, Saved
from inkfish.training.files import Disk
from inkfish.training.metrics import Metrics, read_metrics
from inkfish.training.optimise import Step
from inkfish.training.optimizers import Optimizer, Stateful
from inkfish.training.settings import differences, read_toml, to_toml
from inkfish.weights import heads as head_files
from inkfish.weights import huggingface
from inkfish.weights.huggingface import GenerationDefaults, Saveable

__all__ = ["Run", "forget", "locked", "machine"]

ADAPTER = "adapter"
"""Folder inside a checkpoint with the LoRA updates alone, as peft has them."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder for this process alone; the kernel lets go of it however the process ends.

    Raises:
        RunError: another process holds it, or the folder can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise RunError(
            f"can't write the run folder {folder}: {error.strerror}; choose another --out"
        ) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            raise RunError(
                f"{folder} is being trained in by {holder}; stop that first, or choose another --out"
            ) from None
        with suppress(OSError):
            os.ftruncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {platform.node()}\n".encode())
        yield
    finally:
        os.close(handle)


def machine() -> dict[str, Any]:
    """Return what the bits of a result depend on besides the settings."""
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    } | processes()


def processes() -> dict[str, int]:
    """Return the number of processes that train together, nothing where there is but one."""
    distributed = torch.distributed
    together = distributed.is_available() and distributed.is_initialized()
    return {"processes": distributed.get_world_size()} if together else {}


class Run:
    """One training run on the disk. Make it inside `locked`."""

    def __init__(
        self,
        folder: Path,
        *,
        disk: Disk,
        say: Callable[[str], None],
        keep: int = 2,
        tokenizer: Saveable | None = None,
        eos: int | None = None,
        generation: GenerationDefaults | None = None,
        heads: Mapping[str, ScalarHead] | None = None,
        state: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        """Open a run folder.

        Args:
            folder: the run folder, which exists.
            disk: for all writing.
            say: is told in one line what happens at a resume.
            keep: newest checkpoints that stay.
            tokenizer: saved with each checkpoint.
            eos: id of the end token.
            generation: sampling defaults, saved with each checkpoint.
            heads: trained beside the model by name, saved and resumed with it.
            state: further tensors by name, saved and resumed in place.
        """
        self.folder, self.disk, self.say = folder, disk, say
        self.tokenizer, self.eos, self.generation = tokenizer, eos, generation
        self.heads, self.state = dict(heads or {}), dict(state or {})
        self.metrics = Metrics(folder, disk)
        self.checkpoints = Checkpoints(folder, disk, keep=keep)
        self.progress = Progress()
        self.saved_at: int | None = None

    def begin(self, settings: Mapping[str, Any], *, may_change: Collection[str], force: bool) -> None:
        """Write the settings of a new run, or compare them with those of the run that is here.

        Args:
            settings: everything that the weights depend on; what is in tables is compared table by table.
            may_change: top-level settings that may differ.
            force: go on with changed settings.

        Raises:
            RunError: settings differ, all named; or the folder holds something that is no run.
        """
        path = self.folder / "config.toml"
        if path.exists():
            old = read_toml(path)
            changes = setting_changes(old, settings, may_change=may_change)
            if old.get("steps") != settings.get("steps"):
                self.say(f"steps: {old.get('steps')} → {settings.get('steps')}")
            if changes and not force:
                raise RunError(
                    f"{self.folder} was begun with other settings ({'; '.join(changes)}); "
                    "give the old ones, choose another --out, or go on all the same with --force"
                )
            if changes:
                self.say(f"going on with changed settings: {'; '.join(changes)}")
        try:
            self.disk.replace(path, to_toml(settings).encode())
        except OSError as error:
            raise RunError(
                f"can't write {path}: {error.strerror}; free space or choose another --out"
            ) from None

    def resume(self, model: GPT2, optimizer: Optimizer) -> bool:
        """Bring model, optimizer, torch's random numbers and the log to the newest whole checkpoint.

        Returns whether there was one.

        Raises:
            RunError: there are checkpoints, and none is whole, or of this shape.
        """
        self.checkpoints.sweep()
        saved = self.checkpoints.newest(self.say)
        self.metrics.cut(saved.progress if saved else Progress())
        if saved is None:
            return False
        checkpoint = huggingface.read(saved.folder)
        if checkpoint.config != model.config:
            raise RunError(
                f"{self.folder} holds a model of another shape ({checkpoint.config.parameters:,} parameters, "
                f"not {model.config.parameters:,}); choose another --out, or begin anew with --fresh"
            )
        if lora.adapted(
            model
        ):  # the base model stays as it is: what the checkpoint holds is the sum, rounded
            lora.load(saved.folder / ADAPTER, model)
        else:
            model.load_tensors(checkpoint.tensors)
        self.load_heads(saved.folder)
        if saved.optimizer == optimizer.name:
            optimizer.load_tensors(saved.tensors("optimizer"))
        else:
            self.say(f"optimizer: {saved.optimizer} → {optimizer.name}, which begins without a state")
        self.load_state(saved)
        restore_random(saved.tensors("random"))
        self.checkpoints.forget_after(saved.progress.step)
        self.checkpoints.mend(saved)
        self.progress, self.saved_at = saved.progress, saved.progress.step
        changes = differences(saved.machine, machine())
        if changes:
            self.say(f"not bit-exact with what came before: {'; '.join(changes)}")
        return True

    def load_heads(self, folder: Path) -> None:
        """Bring the heads to a checkpoint's.

        Raises:
            RunError: it has other ones.
        """
        found = head_files.read(folder)
        shapes = [
            {f"{name}.{part}": tensor.shape for name, head in heads.items() for part, tensor in head.items()}
            for heads in (found, self.head_tensors())
        ]
        if shapes[0] != shapes[1]:
            there, here = (", ".join(sorted(each)) or "no heads" for each in shapes)
            raise RunError(
                f"{self.folder} was trained with {there}, this run has {here}; choose another --out, "
                "or begin anew with --fresh"
            )
        for name, head in self.heads.items():
            head.load_tensors(found[name])

    @torch.no_grad()
    def load_state(self, saved: Saved) -> None:
        """Bring the further tensors to a checkpoint's."""
        found = saved.tensors("further") if self.state else {}
        assert found.keys() == self.state.keys(), "the settings, which are equal, say which there are"
        for name, tensor in self.state.items():
            tensor.copy_(found[name])

    def head_tensors(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Return the heads' parameters."""
        return {name: dict(head.tensors()) for name, head in self.heads.items()}

    def took(self, step: Step) -> None:
        """Count a step and write it to the log."""
        old = self.progress
        self.progress = replace(
            old,
            step=step.number,
            cursor=step.cursor,
            tokens=old.tokens + step.tokens,
            skipped=old.skipped + (1 if step.skipped else 0),
            skipped_in_a_row=step.skipped,
            seconds=old.seconds + step.seconds,
        )
        record = {
            "step": step.number,
            "loss": step.loss,
            "lr": step.lr,
            "grad_norm": step.grad_norm,
            "tokens": self.progress.tokens,
            "cursor": step.cursor,
            "seconds": round(self.progress.seconds, 3),
        }
        self.metrics.log(record | ({"skipped": step.batch} if step.skipped else {}))

    def evaluated(self, scores: Mapping[str, float], mean: float, **beside: float) -> bool:
        """Note a validation and return whether it was the best one so far.

        Args:
            scores: bits a byte of each kind of held-out text.
            mean: of them.
            **beside: what else was measured, for the log.
        """
        step = self.progress.step
        best = self.progress.best is None or mean < self.progress.best
        self.metrics.log({"step": step, "validation": mean, "bits_per_byte": dict(scores)} | beside)
        self.progress = replace(self.progress, evaluated=step, best=mean if best else self.progress.best)
        return best

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the run, such as a picture, whole or not at all.

        Raises:
            RunError: the disk is full.
        """
        path = self.folder / name
        try:
            path.parent.mkdir(exist_ok=True)
            self.disk.replace(path, content)
        except OSError as error:
            raise RunError(
                f"can't write {path}: {error.strerror}; free space and start again: "
                "the run goes on from its last checkpoint"
            ) from None

    def given_up(self, after: int) -> bool:
        """Whether the last `after` validations brought no new best score; 0 never gives up."""
        scores = [
            record["validation"] for record in read_metrics(self.metrics.path) if "validation" in record
        ]
        return 0 < after < len(scores) and min(scores[:-after]) <= min(scores[-after:])

    def write_model(self, folder: Path, model: GPT2) -> None:
        """Write a Hugging Face folder with updates merged, the heads, and the updates alone."""
        huggingface.write(
            folder,
            model.config,
            lora.merged(model),
            tokenizer=self.tokenizer,
            generation=self.generation,
            eos=self.eos,
        )
        head_files.write(folder, self.head_tensors())
        if lora.adapted(model):
            lora.write(folder / ADAPTER, model)

    def save(self, model: GPT2, optimizer: Stateful, *, best: bool = False) -> None:
        """Write a checkpoint of the present step, unless it has one.

        Raises:
            RunError: the disk is full, or a weight is not finite; earlier checkpoints are unharmed.
        """
        if self.saved_at == self.progress.step:
            if best:
                self.checkpoints.point("best", self.progress.step)
            return
        self.metrics.sync()
        self.checkpoints.save(
            self.progress,
            write_model=lambda folder: self.write_model(folder, model),
            tensors={"optimizer": optimizer.tensors(), "random": random_state()}
            | ({"further": self.state} if self.state else {}),
            machine=machine(),
            optimizer=optimizer.name,
            best=best,
        )
        self.saved_at = self.progress.step


def setting_changes(
    old: Mapping[str, Any], new: Mapping[str, Any], *, may_change: Collection[str]
) -> list[str]:
    """Return the differences between two sets of settings, tables included."""
    changes = differences(
        {name: value for name, value in old.items() if not isinstance(value, Mapping)},
        # written and read back, so that a tuple or a path is compared as what TOML makes of it
        {name: value for name, value in plain(new).items() if not isinstance(value, Mapping)},
        apart_from=may_change,
    )
    for name, table in new.items():
        if isinstance(table, Mapping) and name not in may_change:
            changes += [f"{name}.{text}" for text in differences(old.get(name, {}), plain(table))]
    return changes


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they come out of a TOML file."""
    import tomllib

    return tomllib.loads(to_toml(values))


def random_state() -> dict[str, torch.Tensor]:
    """Return the state of torch's generators."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random(state: Mapping[str, torch.Tensor]) -> None:
    """Set torch's generators to a state that `random_state` gave."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def forget(folder: Path) -> None:
    """Remove a run, but nothing that runs do not make; the prepared data stay."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    shutil.rmtree(folder / "samples", ignore_errors=True)
    for name in ("last", "best", "metrics.jsonl", "curve.png", "config.toml"):
        (folder / name).unlink(missing_ok=True)
