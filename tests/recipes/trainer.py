"""A process that has torch loaded and forks a training run for each line on its standard input.

A test kills the forked run, which starts in milliseconds, as often as it likes. One JSON object a line,
{"settings": {…}, "failpoint": "", "largest_file": 0, "log": PATH}, is answered by "pid N" and "status N".
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import torch._dynamo  # noqa: F401 - torch's optimizers import it when they are first used, which takes seconds

from inkfish.errors import InkfishError
from inkfish.recipes import finetune, pretrain
from inkfish.recipes.steps import Result
from inkfish.training import curve

curve.draw = lambda records, *, title="": b""  # the picture would take longer than the training


def train(request: dict[str, Any]) -> int:
    """Run one training and return the exit code that the command line would give."""
    settings = dict(request["settings"])
    recipe = settings.pop("recipe", "pretrain")
    data, out = (Path(settings.pop("data")),), Path(settings.pop("out"))

    def run() -> Result:
        if recipe == "finetune":
            return finetune.run(finetune.Config(data, out=out, **settings))
        return pretrain.run(pretrain.Config(data, out=out, **settings))

    os.environ["INKFISH_FAILPOINT"] = request.get("failpoint", "")
    if request.get("largest_file"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file"], resource.RLIM_INFINITY))
    try:
        result = run()
    except InkfishError as error:
        print(f"error: {error}", flush=True)
        return 2
    return 0 if result.stopped is None else 128 + result.stopped


def child(request: dict[str, Any]) -> None:
    """Be the forked process, until its end."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 70
    try:
        code = train(request)
    finally:
        sys.stdout.flush()
        os._exit(code)


def main() -> None:
    """Answer requests until standard input ends."""
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            child(json.loads(line))
        print(f"pid {pid}", flush=True)
        print(f"status {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}", flush=True)


if __name__ == "__main__":
    main()
