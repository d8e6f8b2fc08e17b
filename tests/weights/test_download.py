"""Fetching from a hub on loopback: what is said before, resuming, sums, revisions, failures in one line."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from numpy.typing import NDArray

from inkfish.config import ModelConfig
from inkfish.errors import ModelError, NetworkError
from inkfish.weights import download, hub, huggingface
from inkfish.weights.download import PIECE, Offer, fetch, offer

SOURCE = Path(hub.__file__).parents[2]
REPO = "someone/tiny-gpt2"
COMMITS = {"main": "a" * 40, "v1": "b" * 40}


@dataclass
class Hub:
    """One repository, how the server misbehaves, and what it was asked."""

    files: dict[str, bytes]
    cut_after: int | None = None
    """Close the connection after that many bytes of a large file."""
    cuts: int = 1 << 30
    """How many times."""
    busy: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Answers to give first, status and headers."""
    elsewhere: str = ""
    """Address of another host that holds the large files."""
    names_only: bool = False
    """Say no sizes and sums in the list of files."""
    page: bytes = b""
    """Answer everything with this page."""
    tokens: list[str | None] = field(default_factory=list)
    ignore_ranges: bool = False
    corrupt: bool = False
    endless: bool = False
    status: int = 200
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    address: str = ""


class Handler(BaseHTTPRequestHandler):
    """Answers as huggingface.co does: /api/models/REPO/revision/REV and /REPO/resolve/REV/FILE."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = unquote(self.path.partition("?")[0]).strip("/").split("/")
        self.hub.asked.append((parts[-1], self.headers.get("Range")))
        self.hub.tokens.append(self.headers.get("Authorization"))
        if self.hub.busy:
            self.answer(b"{}", *self.hub.busy.pop(0))
        elif self.hub.page:
            self.answer(self.hub.page, 200, {"Content-Type": "text/html"})
        elif self.hub.status != 200:
            code = {404: "RepoNotFound", 403: "GatedRepo"}.get(self.hub.status, "")
            self.answer(b"{}", self.hub.status, {"X-Error-Code": code} if code else {})
        elif parts[:2] == ["api", "models"]:
            self.model_info("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main")
        elif parts[-1] in self.hub.files:
            self.file(parts[-1])
        else:
            self.answer(b"{}", 404, {"X-Error-Code": "EntryNotFound"})

    def model_info(self, repo: str, revision: str) -> None:
        if repo != REPO:
            return self.answer(b"{}", 404, {"X-Error-Code": "RepoNotFound"})
        if revision not in {*COMMITS, *COMMITS.values()}:
            return self.answer(b"{}", 404, {"X-Error-Code": "RevisionNotFound"})
        siblings = []
        for name, data in self.hub.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            entry: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": blob}
            if name.endswith(".safetensors"):
                sha = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"sha256": sha, "size": len(data), "pointerSize": 134}
            siblings.append({"rfilename": name} if self.hub.names_only else entry)
        info = {"id": repo, "sha": COMMITS.get(revision, revision), "siblings": siblings}
        return self.answer(json.dumps(info).encode(), 200, {})

    def file(self, name: str) -> None:
        data = self.hub.files[name]
        large = name.endswith(".safetensors")
        sums = hashlib.sha256(data) if large else hashlib.sha1(b"blob %d\0" % len(data) + data)
        tags = {
            "X-Linked-Etag" if large else "ETag": f'"{sums.hexdigest()}"',
            "X-Linked-Size": str(len(data)),
        }
        if self.hub.elsewhere and large:
            return self.answer(b"", 302, tags | {"Location": f"{self.hub.elsewhere}/{name}"})
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        partial = start > 0 and not self.hub.ignore_ranges
        data = data[start if partial else 0 :]
        if self.hub.corrupt and name.endswith(".safetensors"):
            data = data[:-1] + bytes([data[-1] ^ 1])
        if self.hub.endless and name.endswith(".safetensors"):
            data = data * 3
        cut = self.hub.cut_after if large and self.hub.cuts > 0 else None
        self.hub.cuts -= cut is not None
        return self.answer(data, 206 if partial else 200, tags, cut)

    def answer(
        self, data: bytes, status: int, headers: dict[str, str] | None = None, cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(data[:cut])
        if cut is not None and cut < len(data):
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A GPT-2 of 2.4 MB with what else repositories hold."""
    folder = tmp_path_factory.mktemp("remote")
    config = ModelConfig(n_layer=1, n_head=2, n_embd=12, n_positions=8, vocab_size=50_257)
    random = np.random.default_rng(1)
    tensors: dict[str, NDArray[np.float64]] = {
        name: random.normal(size=shape) for name, shape in config.tensor_shapes().items()
    }
    huggingface.write(folder / "m", config, tensors)
    found = {path.name: path.read_bytes() for path in (folder / "m").iterdir()}
    odd = {
        "pytorch_model.bin": b"pickle",
        "onnx/model.safetensors": b"x",
        "../evil.json": b"x",
        "run.py": b"x",
    }
    return found | {"README.md": b"---\nlicense: mit\n---\nA card."} | odd


@pytest.fixture(autouse=True)
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No test waits; how long it would have."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


@pytest.fixture
def server(files: dict[str, bytes]) -> Iterator[Hub]:
    with serving(files) as state:
        yield state


@contextlib.contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Hub]:
    """A server on loopback."""
    state = Hub(dict(files))
    handler = type("Bound", (Handler,), {"hub": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        http.daemon_threads = True
        state.address = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        huggingface_hub.close_session()
        http.shutdown()
        thread.join(5)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def pull(server: Hub, store: Path, *, name: str = REPO, revision: str | None = None) -> Offer:
    wanted = offer(name, revision=revision, endpoint=server.address)
    for _ in fetch(wanted, store=store, endpoint=server.address):
        pass
    return wanted


def test_what_is_said_before(server: Hub, files: dict[str, bytes]) -> None:
    wanted = offer(REPO, endpoint=server.address)
    assert (wanted.repository, wanted.revision) == (REPO, "a" * 40)
    names = {"config.json", "generation_config.json", "model.safetensors", "README.md"}
    assert {file.name for file in wanted.files} == names
    assert wanted.size == sum(len(files[name]) for name in names)
    assert wanted.config.vocab_size == 50_257
    assert "model.safetensors" not in {name for name, _ in server.asked}


def test_a_model_is_fetched_checked_and_found(server: Hub, store: Path, files: dict[str, bytes]) -> None:
    wanted = pull(server, store)
    folder = hub.find(REPO, store=store)
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]
    note = json.loads((folder / "source.json").read_text())
    assert note["revision"] == "a" * 40
    assert note["sha256"]["model.safetensors"] == hashlib.sha256(files["model.safetensors"]).hexdigest()
    assert {path.name for path in folder.iterdir()} == {file.name for file in wanted.files} | {"source.json"}
    assert [path.name for path in store.iterdir()] == ["someone--tiny-gpt2"]


def test_progress_ascends_to_the_whole(server: Hub, store: Path) -> None:
    wanted = offer(REPO, endpoint=server.address)
    signs = list(fetch(wanted, store=store, endpoint=server.address))
    done = [sign.done for sign in signs]
    assert done == sorted(done)
    assert done[-1] == wanted.size == signs[-1].total
    assert len(signs) >= 4


def interrupted(server: Hub, store: Path) -> None:
    """Break a transfer after its first piece, for good."""
    server.cut_after = PIECE + 1000
    wanted = offer(REPO, endpoint=server.address)
    for sign in fetch(wanted, store=store, endpoint=server.address):
        if sign.trouble:
            server.status = 500
    raise AssertionError("the transfer was not broken off")


def test_an_interrupted_fetch_goes_on_where_it_was(server: Hub, store: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(NetworkError, match=r"can't fetch someone/tiny-gpt2 \(.*500.*\); try again, use"):
        interrupted(server, store)
    server.status = 200
    with pytest.raises(ModelError, match="there is no model"):
        hub.find("tiny-gpt2", store=store)
    server.cut_after = None
    server.asked.clear()
    pull(server, store)
    ranges = [asked for name, asked in server.asked if name == "model.safetensors"]
    assert len(ranges) == 1
    assert ranges[0] is not None
    assert int(ranges[0].removeprefix("bytes=").rstrip("-")) >= PIECE
    assert (hub.find(REPO, store=store) / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert len(list(store.iterdir())) == 1


def test_a_server_that_can_not_resume_begins_anew(server: Hub, store: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(NetworkError):
        interrupted(server, store)
    server.status = 200
    server.cut_after, server.ignore_ranges = None, True
    pull(server, store)
    assert (hub.find(REPO, store=store) / "model.safetensors").read_bytes() == files["model.safetensors"]


def test_a_wrong_checksum_is_noticed_and_mended_by_the_next_call(server: Hub, store: Path) -> None:
    server.corrupt = True
    with pytest.raises(
        NetworkError, match=r"model.safetensors has the checksum \w{12}…, the hub says \w{12}…; pull"
    ):
        pull(server, store)
    server.corrupt = False
    pull(server, store)
    hub.find(REPO, store=store)


def test_more_than_announced_is_refused(server: Hub, store: Path) -> None:
    server.endless = True
    with pytest.raises(NetworkError, match=r"the server sends more than the .* bytes it announced"):
        pull(server, store)


def test_revisions_are_pinned(server: Hub, store: Path) -> None:
    assert pull(server, store, revision="v1").revision == "b" * 40
    assert pull(server, store, revision="a" * 40).revision == "a" * 40
    note = json.loads((hub.find(REPO, store=store) / "source.json").read_text())
    assert note["revision"] == "a" * 40
    with pytest.raises(ModelError, match=r"someone/tiny-gpt2 has no such revision; leave it out"):
        offer(REPO, revision="v9", endpoint=server.address)


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (404, ModelError, "the hub has no someone/tiny-gpt2, or it is private"),
        (403, ModelError, "someone/tiny-gpt2 asks for consent; give it on its page and sign in"),
        (
            401,
            ModelError,
            "the hub wants you to sign in for someone/tiny-gpt2, or does not take",
        ),
        (410, NetworkError, r"can't fetch someone/tiny-gpt2 \(.*410.*\); try again, use starter"),
        (500, NetworkError, r"can't fetch someone/tiny-gpt2 \(.*500.*\); try again, use starter"),
    ],
)
def test_refusals_of_the_hub(server: Hub, status: int, kind: type[Exception], words: str) -> None:
    server.status = status
    with pytest.raises(kind, match=words) as caught:
        offer(REPO, endpoint=server.address)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (401, "Invalid credentials in Authorization header",
         "wants you to sign in for someone/tiny-gpt2, or does"),
        (403, "Not for you", r"does not let you read someone/tiny-gpt2 \(403 Forbidden: Not for you.\); "),
        (403, "Access to this resource is disabled.", r"does not let you read someone/tiny-gpt2 \(403"),
    ],
)  # fmt: skip
def test_tokens_that_do_not_do(server: Hub, status: int, headers: str, words: str) -> None:
    server.busy = [(status, {"X-Error-Message": headers})]
    with pytest.raises(ModelError, match=words) as caught:
        offer(REPO, endpoint=server.address)
    assert "\n" not in str(caught.value)


def test_no_network() -> None:
    with pytest.raises(
        NetworkError, match=r"can't fetch openai-community/gpt2 \(.*\); try again, use starter, or"
    ):
        offer("gpt2", endpoint="http://127.0.0.1:9")


def test_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        NetworkError,
        match="HF_HUB_OFFLINE is set, so openai-community/gpt2 is not fetched; use starter, or give",
    ):
        offer("gpt2")


@pytest.mark.parametrize(
    ("name", "words"), [("nosuch", "is not on the hub; give gpt2"), ("a b/c", "can't be a model's name")]
)
def test_names_that_are_no_repositories(name: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        offer(name)


def test_other_models_are_refused_before_anything_large_is_fetched(server: Hub, store: Path) -> None:
    server.files["config.json"] = b'{"model_type": "llama"}'
    with pytest.raises(ModelError, match=r"someone/tiny-gpt2/config.json: model_type is 'llama'"):
        pull(server, store)
    assert "model.safetensors" not in {name for name, _ in server.asked}
    assert not store.exists()
    server.files["config.json"] = b" " * ((1 << 20) + 1)
    with pytest.raises(ModelError, match=r"config.json has 1,048,577 bytes, the limit is 1,048,576"):
        pull(server, store)
    del server.files["config.json"]
    with pytest.raises(ModelError, match=r"has no config.json; it is not a model"):
        pull(server, store)
    del server.files["model.safetensors"]
    with pytest.raises(ModelError, match=r"has no model.safetensors \(pickles are not fetched"):
        pull(server, store)


def test_a_model_that_is_unsound_on_the_hub_is_not_kept(server: Hub, store: Path) -> None:
    config = json.loads(server.files["config.json"])
    server.files["config.json"] = json.dumps(config | {"n_layer": 2}).encode()
    with pytest.raises(ModelError, match=r"as the hub has it can't be used: someone/tiny-gpt2 does not fit"):
        pull(server, store)
    assert list(store.iterdir()) == []


def test_shards(server: Hub, store: Path, files: dict[str, bytes], tmp_path: Path) -> None:
    server.files["model-00001-of-00001.safetensors"] = server.files.pop("model.safetensors")
    from inkfish.weights.tensor_file import map_file

    (tmp_path / "x").write_bytes(files["model.safetensors"])
    places = dict.fromkeys(map_file(tmp_path / "x"), "model-00001-of-00001.safetensors")
    server.files["model.safetensors.index.json"] = json.dumps({"weight_map": places}).encode()
    wanted = pull(server, store)
    assert len([file for file in wanted.files if file.name.startswith("model")]) == 2
    server.files["model.safetensors"] = files["model.safetensors"]
    wanted = offer(REPO, endpoint=server.address)
    assert len([file for file in wanted.files if file.name.startswith("model")]) == 1


def test_a_disk_that_is_too_small(server: Hub, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(
        ModelError, match=r"someone/tiny-gpt2 needs 2,\d+,\d+ bytes on the disk of .*, 1,000 are"
    ):
        pull(server, store)


def test_a_store_that_can_not_be_written(server: Hub, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(ModelError, match=r"can't write .*: (Not a directory|File exists)"):
        pull(server, tmp_path / "store")


def test_a_lost_connection_is_taken_up_where_it_was(
    server: Hub, store: Path, waited: list[float], files: dict[str, bytes]
) -> None:
    """Three times within one call; the count of attempts begins anew whenever something arrived."""
    server.cut_after, server.cuts = 700_000, 3
    signs = list(fetch(offer(REPO, endpoint=server.address), store=store, endpoint=server.address))
    troubles = [sign.trouble for sign in signs if sign.trouble]
    assert len(troubles) == 3
    assert all("can't fetch someone/tiny-gpt2 (" in trouble for trouble in troubles)
    assert waited == [1.0, 1.0, 1.0]
    ranges = [asked for name, asked in server.asked if name == "model.safetensors"]
    assert len(ranges) == 4
    assert ranges[0] is None
    assert None not in ranges[1:]
    assert (hub.find(REPO, store=store) / "model.safetensors").read_bytes() == files["model.safetensors"]


def test_a_connection_that_brings_nothing_is_given_up(server: Hub, store: Path, waited: list[float]) -> None:
    server.cut_after = 0
    with pytest.raises(NetworkError, match="can't fetch someone/tiny-gpt2"):
        pull(server, store)
    assert waited == [1.0, 2.0, 4.0, 8.0]


def test_a_busy_hub_is_asked_again(server: Hub, store: Path, waited: list[float]) -> None:
    """In the offer, in config.json and in the transfer; what it says of waiting is heeded up to a minute."""
    server.busy = [(503, {}), (429, {"Retry-After": "7"}), (502, {})]
    wanted = offer(REPO, endpoint=server.address)
    assert waited == [1.0, 7.0, 4.0]
    waited.clear()
    server.busy = [(500, {}), (429, {"Retry-After": "86400"}), (429, {"Retry-After": "soon"})]
    for _ in fetch(wanted, store=store, endpoint=server.address):
        pass
    assert waited == [1.0, 60.0, 4.0]
    hub.find(REPO, store=store)


def test_large_files_on_another_host(server: Hub, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub refers to it; ranges go along, the token does not."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving(server.files) as elsewhere:
        server.elsewhere = elsewhere.address.replace("127.0.0.1", "localhost")
        elsewhere.cut_after, elsewhere.cuts = PIECE + 1000, 1
        pull(server, store)
        assert [name for name, _ in elsewhere.asked] == ["model.safetensors"] * 2
        assert elsewhere.asked[0][1] is None
        assert elsewhere.asked[1][1] is not None
        assert elsewhere.tokens == [None, None]
    assert set(server.tokens) == {"Bearer hf_secret"}
    hub.find(REPO, store=store)


def test_a_hub_that_lists_names_only(server: Hub, store: Path, files: dict[str, bytes]) -> None:
    """Sizes and sums are asked for one by one, and compared all the same."""
    server.names_only = True
    wanted = pull(server, store)
    assert {file.name: file.size for file in wanted.files} == {
        file.name: len(files[file.name]) for file in wanted.files
    }
    sums = {file.name: file.sha256 or file.blob for file in wanted.files}
    assert sums["model.safetensors"] == hashlib.sha256(files["model.safetensors"]).hexdigest()
    assert all(sums.values())
    server.corrupt = True
    with pytest.raises(NetworkError, match="has the checksum"):
        pull(server, store)


@pytest.mark.parametrize(
    "page", [b"<html>Please sign in</html>", b"{}", b"[]", b'{"id": 3, "siblings": [1]}']
)
def test_what_is_no_hub(server: Hub, page: bytes) -> None:
    server.page = page
    with pytest.raises(NetworkError, match=r"what answers for someone/tiny-gpt2 is no hub \(\w+ in its"):
        offer(REPO, endpoint=server.address)


def test_a_size_that_nobody_says(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    server.names_only = True
    monkeypatch.setattr(download, "remote_metadata", lambda *_: SimpleNamespace(size=None, etag=None))
    with pytest.raises(NetworkError, match=r"the hub does not say how large [\w.]+ is; try again later"):
        offer(REPO, endpoint=server.address)


def test_two_at_the_same_time(server: Hub, store: Path) -> None:
    wanted = offer(REPO, endpoint=server.address)
    first = fetch(wanted, store=store, endpoint=server.address)
    next(first)
    with (
        contextlib.closing(first),
        pytest.raises(ModelError, match="another process is fetching someone/tiny-gpt2; wait until"),
    ):
        next(fetch(wanted, store=store, endpoint=server.address))
    pull(server, store)


def test_pulling_again_leaves_nothing_of_the_old_revision(server: Hub, store: Path) -> None:
    pull(server, store)
    folder = hub.find(REPO, store=store)
    held = huggingface.read(folder)
    before = held.tensors["wpe.weight"].copy()
    (folder / "model-00001-of-00001.safetensors").write_bytes(b"old")
    pull(server, store, revision="v1")
    assert not (folder / "model-00001-of-00001.safetensors").exists()
    assert json.loads((folder / "source.json").read_text())["revision"] == "b" * 40
    assert np.array_equal(held.tensors["wpe.weight"], before)
    assert [path.name for path in store.iterdir()] == ["someone--tiny-gpt2"]


def command(server: Hub, home: Path, before: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """`inkfish models pull` in a shell, with that server as HF_ENDPOINT."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_"))}
    environment |= {"HOME": str(home), "HF_ENDPOINT": server.address, "PYTHONPATH": str(SOURCE)}
    line = f"{before} exec {sys.executable} -m inkfish models pull {REPO}"
    return subprocess.run(
        ["bash", "-c", line], env=environment | variables, capture_output=True, text=True, check=False
    )


def test_the_command(server: Hub, tmp_path: Path, files: dict[str, bytes]) -> None:
    """HF_ENDPOINT, a file size limit in place of a full disk, resumed, XDG_DATA_HOME, HF_HUB_OFFLINE."""
    full = command(server, tmp_path, "ulimit -f 1500;")
    assert full.returncode == 2
    said = full.stderr.splitlines()
    assert said[0].startswith(f"{REPO} is {REPO} at aaaaaaaaaaaa: ")
    assert " MB to fetch, " in said[0]
    assert said[-1].endswith("File too large; what was fetched is kept")
    assert "Traceback" not in full.stderr
    server.asked.clear()
    done = command(server, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    folder = tmp_path / ".local/share/inkfish/models/someone--tiny-gpt2"
    assert done.stderr.splitlines()[-1] == f"fetched to {folder}; inkfish write --model {REPO}"
    ((_, asked),) = [asked for asked in server.asked if asked[0] == "model.safetensors"]
    assert asked is not None
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]
    moved = command(server, tmp_path, XDG_DATA_HOME=str(tmp_path / "data"))
    assert f"fetched to {tmp_path}/data/inkfish/models/" in moved.stderr
    server.asked.clear()
    offline = command(server, tmp_path, HF_HUB_OFFLINE="1")
    assert offline.returncode == 2
    assert offline.stderr == (
        f"inkfish: HF_HUB_OFFLINE is set, so {REPO} is not fetched; use starter, or give the folder of "
        "a model on this machine\n"
    )
    assert not server.asked
