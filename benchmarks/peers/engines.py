"""Other engines in a process of their own, each by its own best loop.

    python engines.py ENGINE FILE TYPE THREADS

Reads requests as JSON, one a line, {"what": "decode" | "prompt", "batch": B, "steps": N}, and answers with
{"rate": tokens per second}. A process that waits takes no processor time from those that are measured.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

TOKEN = 5
PROMPT = 512


def timed(tokens: int, work: Callable[[], object]) -> float:
    """Tokens per second."""
    start = time.perf_counter()
    work()
    return tokens / (time.perf_counter() - start)


class OnnxRuntime:
    """ONNX Runtime over the graph of `onnx_graph.py`; keys and values never leave its memory."""

    def __init__(self, path: str, kind: str, threads: int) -> None:
        import numpy as np
        import onnxruntime

        self.numpy, self.runtime = np, onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.states = [one for one in self.session.get_inputs() if one.name.startswith("past")]

    def run(self, ids: Any, past: list[Any]) -> list[Any]:
        """One call; returns the next past."""
        start = past[0].shape()[3]
        binding = self.session.io_binding()
        binding.bind_cpu_input("input_ids", ids)
        places = self.numpy.tile(self.numpy.arange(start, start + ids.shape[1]), (len(ids), 1))
        binding.bind_cpu_input("position_ids", places)
        for i, state in enumerate(past):
            binding.bind_ortvalue_input(f"past_{i}", state)
        for output in self.session.get_outputs():
            binding.bind_output(output.name, "cpu")
        self.session.run_with_iobinding(binding)
        binding.get_outputs()[0].numpy().argmax(-1)
        return binding.get_outputs()[1:]

    def empty(self, batch: int) -> list[Any]:
        """No past."""
        _, _, heads, _, size = self.states[0].shape
        nothing = self.numpy.zeros((2, batch, heads, 0, size), self.numpy.float32)
        return [self.runtime.OrtValue.ortvalue_from_numpy(nothing) for _ in self.states]

    def decode(self, batch: int, steps: int) -> float:
        """Tokens per second of a batch."""
        ids = self.numpy.full((batch, 1), TOKEN)
        past = self.run(ids, self.empty(batch))

        def work() -> None:
            nonlocal past
            for _ in range(steps):
                past = self.run(ids, past)

        return timed(batch * steps, work)

    def prompt(self, batch: int, steps: int) -> float:
        """Prompt tokens per second."""
        ids = self.numpy.random.default_rng(1).integers(0, 50257, (1, PROMPT))
        return timed(PROMPT, lambda: self.run(ids, self.empty(1)))


class CTranslate2:
    """CTranslate2's generator, greedy, with its cache; a batch is one call."""

    def __init__(self, path: str, kind: str, threads: int) -> None:
        import ctranslate2

        self.generator = ctranslate2.Generator(
            path, device="cpu", compute_type=kind, intra_threads=threads, inter_threads=1
        )

    def generate(self, prompts: list[list[str]], steps: int) -> None:
        """Write exactly that many tokens after each prompt."""
        self.generator.generate_batch(
            prompts,
            max_length=steps,
            min_length=steps,
            sampling_topk=1,
            include_prompt_in_result=False,
            end_token=[],
            max_batch_size=0,
        )

    def decode(self, batch: int, steps: int) -> float:
        """Tokens per second of a batch."""
        return timed(batch * steps, lambda: self.generate([["a"]] * batch, steps))

    def prompt(self, batch: int, steps: int) -> float:
        """Prompt tokens per second."""
        return timed(PROMPT, lambda: self.generate([["a"] * PROMPT], 1))


class Transformers:
    """transformers' generate, greedy, with its cache."""

    def __init__(self, path: str, kind: str, threads: int) -> None:
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        torch.set_num_threads(threads)
        self.torch = torch
        model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, kind))
        self.model = model.eval()

    def decode(self, batch: int, steps: int) -> float:
        """Tokens per second of a batch."""
        ids = self.torch.full((batch, 1), TOKEN)
        settings = {"max_new_tokens": steps, "min_new_tokens": steps, "do_sample": False, "pad_token_id": 0}
        with self.torch.inference_mode():
            return timed(batch * steps, lambda: self.model.generate(ids, **settings))

    def prompt(self, batch: int, steps: int) -> float:
        """Prompt tokens per second."""
        ids = self.torch.randint(0, 50257, (1, PROMPT))
        with self.torch.inference_mode():
            return timed(PROMPT, lambda: self.model(ids, use_cache=True, logits_to_keep=1))


ENGINES = {"onnxruntime": OnnxRuntime, "ctranslate2": CTranslate2, "transformers": Transformers}


def main() -> None:
    """Answer requests until there are no more."""
    warnings.simplefilter("ignore")
    engine, path, kind, threads = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the libraries print goes elsewhere
    subject = ENGINES[engine](path, kind, int(threads))
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        rate = getattr(subject, request["what"])(request["batch"], request["steps"])
        print(json.dumps({"rate": rate}), file=answers, flush=True)


if __name__ == "__main__":
    main()
