"""A process that has torch loaded and forks the processes of a training run, as torchrun would start them.

One JSON object a line on standard input, {"recipe", "settings", "processes", "port", "log"}, is answered by
"pids N …" and, when all have ended, "status N …". Process R writes what it prints to LOG.R.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch._dynamo

import inkfish.training.parallel  # noqa: F401
from inkfish.errors import InkfishError
from inkfish.recipes import finetune, pretrain
from inkfish.training import curve
from inkfish.training.ranks import joined

curve.draw = lambda records, *, title="": b""  # the picture would take longer than the training
RECIPES: dict[str, Any] = {"finetune": finetune, "pretrain": pretrain}


def wait_for_a_silent_one() -> int:
    """Join, and wait for process 1, which never says anything."""
    with joined(os.environ, patience=timedelta(seconds=2)) as ranks:
        if ranks.rank == 1:
            time.sleep(5)
            os._exit(0)
        ranks.sum(torch.zeros(1))
    return 0


def train(request: dict[str, Any]) -> int:
    """Run one training and return the exit code that the command line would give."""
    try:
        if request["recipe"] == "silence":
            return wait_for_a_silent_one()
        recipe = RECIPES[request["recipe"]]
        settings = dict(request["settings"])
        config = recipe.Config((Path(settings.pop("data")),), out=Path(settings.pop("out")), **settings)
        result = recipe.run(config)
    except InkfishError as error:
        print(f"error: {error}", flush=True)
        return 2
    return 0 if result.stopped is None else 128 + result.stopped


def child(request: dict[str, Any], rank: int) -> None:
    """Be one process of the run, until its end."""
    log = os.open(f"{request['log']}.{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    size = request["processes"]
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(request["port"]),
    }
    code = 70
    try:
        code = train(request)
    finally:
        sys.stdout.flush()
        os._exit(code)


def main() -> None:
    """Answer requests until standard input ends."""
    warnings.simplefilter("ignore")  # as the command line does
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        pids = []
        for rank in range(request["processes"]):
            pid = os.fork()
            if pid == 0:
                child(request, rank)
            pids.append(pid)
        print("pids", *pids, flush=True)
        print("status", *(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids), flush=True)


if __name__ == "__main__":
    main()
