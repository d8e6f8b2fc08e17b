"""What a run looks at while it trains: held-out text, samples, the curve."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Unpack

from inkfish.backends.torch import TorchBackend
from inkfish.generate.jobs import SamplingSettings
from inkfish.generate.language_model import LanguageModel
from inkfish.model import GPT2
from inkfish.recipes.display import Display
from inkfish.tokenizer import Tokenizer
from inkfish.training import curve
from inkfish.training.metrics import read_metrics
from inkfish.training.run import Run
from inkfish.training.validation import HeldOut, bits_per_byte

__all__ = ["Curve", "evaluate", "write_samples"]

CURVE_SECONDS = 60.0
"""The curve is drawn at most this often, and at the end."""


def evaluate(
    model: GPT2,
    held: Sequence[HeldOut],
    here: Run,
    screen: Display,
    *,
    size: int,
    precision: str,
    workers: Executor | None,
    stop: Callable[[], bool],
) -> bool:
    """Measure bits a byte of each kind of held-out text; return whether their mean is the best so far.

    Args:
        model: measured as it is.
        held: the texts; none is fine.
        here: gets the scores into its log.
        screen: gets a line.
        size: sequences at once.
        precision: as in training.
        workers: as in training.
        stop: asked often; where it says yes, nothing is measured or noted.
    """
    scores: dict[str, float] = {}
    for part in held:
        score = bits_per_byte(model, part, size=size, precision=precision, workers=workers, stop=stop)
        if score is None:
            return False
        scores[part.kind] = score
    if not scores:
        return False
    mean = sum(scores.values()) / len(scores)
    best = here.evaluated(scores, mean)
    screen.validation = mean
    kinds = "" if len(scores) == 1 else f" ({', '.join(f'{k} {v:.3f}' for k, v in scores.items())})"
    mark = ", the best so far" if best else ""
    screen.say(f"step {here.progress.step:,}: validation {mean:.4f} bits a byte{kinds}{mark}")
    return best


def write_samples(
    model: GPT2,
    tokenizer: Tokenizer,
    here: Run,
    screen: Display,
    *,
    prompts: Sequence[str],
    tokens: int,
    count: int,
    seed: int,
    **sampling: Unpack[SamplingSettings],
) -> None:
    """Continue each prompt `count` times by up to `tokens` tokens, on screen and in `samples/STEP.txt`."""
    training = model.training
    writer = LanguageModel(TorchBackend(model.eval(), "float32"), tokenizer)
    texts = []
    for prompt in prompts:
        done = writer.generate(prompt, max_tokens=tokens, n=count, slide=True, seed=seed, **sampling)
        texts += [prompt + sample.text for sample in done.samples]
    model.train(training)
    step = here.progress.step
    screen.say("\n".join(f"step {step:,} writes: {text}" for text in texts))
    here.write(f"samples/{step}.txt", ("\n\n".join(texts) + "\n").encode())


class Curve:
    """Draws the run's `curve.png`."""

    def __init__(self, here: Run, title: str) -> None:
        self.here, self.title = here, title
        self.drawn = time.monotonic()

    def draw(self) -> None:
        """Draw it now."""
        self.drawn = time.monotonic()
        records = read_metrics(self.here.metrics.path)
        self.here.write("curve.png", curve.draw(records, title=self.title))

    def draw_sometimes(self) -> None:
        """Draw it unless it was drawn within the last minute."""
        if time.monotonic() - self.drawn >= CURVE_SECONDS:
            self.draw()
