"""The Train page's server side: files in, a child process that is started, paused and gone on with."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from inkfish.server import Page, Service
from inkfish.server.problems import RequestError
from inkfish.server.runs import Runs, file_name, seconds_to_go
from inkfish.server.train import page, timing

TRAINER = """
import json, pathlib, signal, sys, time
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
if "--plan" in sys.argv:
    if "fail" in sys.argv[1]:
        sys.exit(f"inkfish: {sys.argv[1]} holds nothing")
    time.sleep(60 if "long" in sys.argv[1] else 0)
    plan = {"seconds_an_epoch": 5.0, "steps": 30, "tokens_a_step": 20, "tokens": 300, "memory": 1 << 30}
    (out / "plan.json").write_text(json.dumps(plan | {"available": None, "advice": ["less is more"]}))
    sys.exit()
stop = []
signal.signal(signal.SIGINT, lambda *_: stop.append(1))
(out / "config.toml").write_text("steps = 40")
log = out / "metrics.jsonl"
done = len(log.read_text().splitlines()) if log.exists() else 0
if "fail" in sys.argv[1]:
    sys.exit("inkfish: the text is empty")
for step in range(done + 1, 41):
    if stop:
        sys.exit(130)
    with log.open("a") as file:
        file.write(json.dumps({"step": step, "loss": 5 / step, "seconds": step / 10}) + "\\n")
    time.sleep(0.02)
(out / "samples").mkdir(exist_ok=True)
(out / "samples" / "40.txt").write_text("a poem")
print("finished")
"""
"""Stands for `inkfish finetune`: writes the same files, saves at SIGINT, ends with the same codes."""


def until(condition: Callable[[], bool], *, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tmp_path / "runs", command=[sys.executable, "-c", TRAINER])
    yield made
    made.close()


def add(runs: Runs, name: str, file: str = "poems.txt", content: str = "roses are red") -> None:
    aside = runs.room_for(name, file)
    aside.write_text(content)
    aside.replace(aside.with_name(file))


def test_a_run_that_is_paused_while_it_starts_is_paused(tmp_path: Path) -> None:
    """Python ends with 1 where it is interrupted among its first imports."""
    starting = """
import pathlib, sys, time, traceback
try:
    pathlib.Path("PLACE/there").touch()
    time.sleep(60)
except KeyboardInterrupt:
    traceback.print_exc()
    sys.exit(1)
"""
    runs = Runs(tmp_path / "runs", command=[sys.executable, "-c", starting.replace("PLACE", str(tmp_path))])
    add(runs, "poems")
    runs.start("poems", [])
    until(lambda: (tmp_path / "there").exists())
    runs.pause("poems")
    until(lambda: runs.state("poems") not in ("training", "pausing"))
    assert runs.state("poems") == "paused"
    assert Runs(runs.folder, command=runs.command).state("poems") == "paused"


def test_names_of_files_are_made_harmless() -> None:
    assert file_name("My poems (1).docx") == "My poems (1).docx"
    assert file_name("../../etc/passwd.txt") == "passwd.txt"
    assert file_name("C:\\Users\\a\\poem.TXT") == "poem.TXT"
    assert file_name("a\x00b\n<c>.txt") == "a_b__c_.txt"
    assert file_name("..hidden.txt") == "hidden.txt"
    assert file_name("rows.jsonl.gz") == "rows.jsonl.gz"
    assert file_name("é" * 300 + ".md") == "é" * 80 + ".md"
    for bad in ("", ".txt", "a", "a.exe", "a.py", "a.txt.exe", "../..", "model.gz", "a.pkl"):
        with pytest.raises(RequestError, match="a file must be one of"):
            file_name(bad)


@pytest.mark.parametrize("name", ["", "..", "a/b", "-a", "a" * 65, "a b", "ü", ".a"])
def test_names_of_runs_stay_in_their_folder(runs: Runs, name: str) -> None:
    with pytest.raises(RequestError, match="a run's name is"):
        runs.place(name)


def test_a_run_is_started_paused_and_gone_on_with(runs: Runs) -> None:
    with pytest.raises(RequestError, match="no texts yet"):
        runs.start("poems", [])
    add(runs, "poems")
    assert runs.state("poems") == "new"
    runs.start("poems", ["--epochs", "2"])
    assert runs.state("poems") == "training"
    until(lambda: runs.progress("poems", 0)["total"] > 3)
    add(runs, "second")
    with pytest.raises(RequestError, match="poems is being trained; pause it first"):
        runs.start("second", [])
    runs.pause("poems")
    assert runs.state("poems") in ("pausing", "paused")
    until(lambda: runs.state("poems") == "paused")
    with pytest.raises(RequestError, match="not being trained here"):
        runs.pause("poems")
    seen = runs.progress("poems", 0)["total"]
    assert 3 < seen < 40
    fresh = Runs(runs.folder, command=runs.command)
    assert fresh.state("poems") == "paused", "a new server knows it too"
    fresh.resume("poems")
    until(lambda: fresh.state("poems") == "finished")
    progress = fresh.progress("poems", 38)
    assert [record["step"] for record in progress["records"]] == [39, 40]
    assert progress["samples"] == [{"step": 40, "text": "a poem"}]
    assert progress["lines"] == ["finished"]
    assert (progress["steps"], progress["files"]) == (40, [{"name": "poems.txt", "bytes": 13}])
    assert Runs(runs.folder).state("poems") == "finished"


def test_texts_of_a_run_that_has_begun_stay(runs: Runs) -> None:
    add(runs, "poems")
    runs.remove_file("poems", "poems.txt")
    assert runs.files("poems") == []
    add(runs, "poems")
    runs.start("poems", [])
    for action in (
        lambda: runs.room_for("poems", "more.txt"),
        lambda: runs.remove_file("poems", "poems.txt"),
        lambda: runs.start("poems", []),
    ):
        with pytest.raises(RequestError, match="has begun"):
            action()


def test_a_run_that_fails_says_why(runs: Runs) -> None:
    add(runs, "fail")
    runs.start("fail", [])
    until(lambda: runs.state("fail") == "failed")
    assert runs.progress("fail", 0)["error"] == "inkfish: the text is empty"
    runs.resume("fail")
    until(lambda: runs.state("fail") == "failed")


def test_a_plan_is_measured_and_changes_nothing(runs: Runs) -> None:
    with pytest.raises(RequestError, match="no texts yet"):
        runs.measure("poems", [])
    add(runs, "poems")
    assert timing(runs.measure("poems", [])) == {
        "steps": 30,
        "seconds_each": 5.0,
        "seconds": 10.0,
        "memory": 1 << 30,
        "available": None,
        "advice": ["less is more"],
    }
    assert runs.state("poems") == "new"
    add(runs, "fail", "fail.txt")
    with pytest.raises(RequestError, match=r"^texts/fail\.txt holds nothing$"):
        runs.measure("fail", [])
    runs.start("poems", [])
    with pytest.raises(RequestError, match="has begun already"):
        runs.measure("poems", [])


def test_a_run_that_starts_ends_a_measurement(runs: Runs) -> None:
    add(runs, "long", "long.txt")
    add(runs, "poems")
    with ThreadPoolExecutor() as threads:
        measured = threads.submit(runs.measure, "long", [])
        until(lambda: "long" in runs.measuring)
        assert runs.state("long") == "new"
        runs.start("poems", [])
        with pytest.raises(RequestError, match="it was given up"):
            measured.result(15)
    assert not runs.measuring


@pytest.mark.slow
def test_the_trainer_plans(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    add(runs, "poems", content="The owl and the cat sat on the mat. " * 400)
    found = timing(runs.measure("poems", ["--model", "starter", "--keep-duplicates"]))
    assert 0 < found["seconds_each"] < found["seconds"] == pytest.approx(4 * found["seconds_each"], rel=0.5)
    assert 2**28 < found["memory"] < 2**33
    assert found["steps"] >= 1
    assert runs.state("poems") == "new"


def test_runs_of_other_programs_are_shown_and_left_alone(runs: Runs) -> None:
    place = runs.folder / "other"
    place.mkdir(parents=True)
    (place / "config.toml").write_text("steps = 3")
    (place / "metrics.jsonl").write_text('{"step": 3, "loss": 1.0}\n{"step": 4, "lo')
    assert runs.names() == ["other"]
    assert runs.state("other") == "finished"
    with pytest.raises(RequestError, match="not begun on this page"):
        runs.resume("other")
    with pytest.raises(RequestError, match="no run of this name"):
        runs.progress("nothing", 0)
    import fcntl
    import os

    with (place / "lock").open("w") as lock:
        lock.write(f"process {os.getpid()} on here\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert runs.state("other") == "elsewhere"
    assert runs.state("other") == "finished"


def test_limits_of_files(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inkfish.server.runs.MOST_FILES", 2)
    add(runs, "a", "1.txt")
    add(runs, "a", "2.txt")
    add(runs, "a", "2.txt", "again")
    with pytest.raises(RequestError, match="at most 2 files"):
        runs.room_for("a", "3.txt")
    monkeypatch.setattr("inkfish.server.runs.MOST_BYTES", 3)
    with pytest.raises(RequestError, match="may have 3 bytes"):
        runs.room_for("a", "2.txt")


def test_the_time_to_go_is_that_of_the_last_steps() -> None:
    records: list[dict[str, Any]] = [{"step": i, "seconds": 2.0 * i} for i in range(1, 11)]
    assert seconds_to_go(records, 30) == 40
    assert seconds_to_go(records[:1], 30) is None
    assert seconds_to_go(records, None) is None


@pytest.fixture
def site(serve: Any, runs: Runs, folder: Path) -> Any:
    pages: list[Page] = []
    server = serve(runs=runs.folder)
    assert isinstance(server.service, Service)
    pages.append(page(server.service, runs))
    return serve(pages=tuple(pages), runs=runs.folder)


def test_from_files_to_a_plan_to_a_run(site: Any, runs: Runs) -> None:
    text = "\n".join(f"The {word} goes to the river in spring." for word in map(str, range(200)))
    file = {"content-type": "application/octet-stream"}
    recipe = {"name": "river", "model": "starter", "openings": ["The"], "epochs": 2}
    with site.client() as client:
        assert client.get("/train").status_code == 200
        assert (
            client.post("/train/plan", json=recipe).json()["error"]["message"]
            == "there are no texts yet; add a file"
        )
        kept = client.put("/train/files/river/..%5Cspring.txt", content=text.encode(), headers=file).json()
        assert kept["name"] == "spring.txt"
        assert client.put("/train/files/river/a.txt", content=b"", headers=file).status_code == 400
        assert client.put("/train/files/river/a.exe", content=b"x", headers=file).status_code == 400
        plan = client.post("/train/plan", json=recipe).json()
        assert plan["files"] == plan["documents"] == 1
        assert plan["words"] == 1600
        assert plan["tokens"] > 1000
        assert plan["steps"] >= 1
        assert client.post("/train/measure", json=recipe).json()["seconds"] == 10.0
        client.put("/train/files/river/b.txt", content=b"\x00\x01", headers=file)
        error = client.post("/train/plan", json=recipe).json()["error"]
        assert error["message"].startswith("b.txt is binary")
        assert client.delete("/train/files/river/b.txt").json() == {"removed": "b.txt"}
        assert (
            client.post("/train/start", json=recipe | {"model": "x"}).json()["error"]["code"]
            == "model_not_found"
        )
        assert client.post("/train/start", json=recipe).json() == {"state": "training"}
        words = json.loads((runs.folder / "river" / "page.json").read_text())["words"]
        assert words[1:] == [
            *("--out", str(runs.folder / "river"), "--model", "starter", "--train", "all", "--epochs", "2.0"),
            *("--form", "documents", "--prompts", "The", "--sample-every", "25", "--save-every", "50"),
        ]
        assert client.post("/train/pause", json={"name": "river"}).json()["state"] in ("pausing", "paused")
        until(lambda: client.get("/train/runs/river").json()["state"] == "paused")
        assert client.post("/train/resume", json={"name": "river"}).json() == {"state": "training"}
        until(lambda: client.get("/train/runs").json()["runs"] == [{"name": "river", "state": "finished"}])
        assert client.get("/train/runs/river?after=39").json()["records"][0]["step"] == 40
        assert client.get("/train/runs/nothing").status_code == 404
