"""TRL's RLOOTrainer as a peer of benchmarks/preferences.py: learns from one batch each time it is asked.

Needs TRL, transformers and datasets, nothing of ours; started by the benchmark, in the Python that has them.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import RLOOConfig, RLOOTrainer


class Gate:
    """The reward, called once a batch: tells how long the last one took, and waits to be asked for more."""

    __name__ = "gate"

    def __init__(self) -> None:
        self.began = time.perf_counter(), time.process_time()

    def __call__(self, completions: list[str], **others: Any) -> list[float]:
        """Return the number of a letter in each completion."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        wall, cpu = time.perf_counter() - self.began[0], time.process_time() - self.began[1]
        print(json.dumps([wall, cpu, peak]), flush=True)
        if not sys.stdin.readline():
            sys.exit()
        self.began = time.perf_counter(), time.process_time()
        return [float(text.count("e")) for text in completions]


def main(folder: Path, batch: int, samples: int, epochs: int, tokens: int, threads: int) -> None:
    """Train until nobody asks for more."""
    torch.set_num_threads(threads)
    prompts = [json.loads(line)["text"] for line in (folder / "prompts.jsonl").read_text().splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    settings = RLOOConfig(
        output_dir=str(folder / "trl"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_dropout=True,
        per_device_train_batch_size=batch,
        num_generations=samples,
        num_iterations=epochs,
        max_completion_length=tokens,
        temperature=0.7,
        top_k=0,
        top_p=1.0,
        beta=0.05,
        learning_rate=1e-5,
        max_steps=10**6,
        save_strategy="no",
        logging_steps=10**6,
        report_to=[],
        disable_tqdm=True,
    )
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    RLOOTrainer(
        model=model,
        reward_funcs=Gate(),
        args=settings,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=tokenizer,
    ).train()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
