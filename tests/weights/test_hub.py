"""Models by name: what a name finds, what the store holds, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from inkfish.config import ModelConfig
from inkfish.errors import InkfishError, ModelError
from inkfish.tokenizer import Tokenizer
from inkfish.weights import hub, huggingface
from inkfish.weights.importing import import_folder

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def make_run(run: Path, **pointers: str) -> Path:
    for step in ("100", "200"):
        (run / "checkpoints" / step).mkdir(parents=True)
    for pointer, step in pointers.items():
        (run / pointer).write_text(f"{step}\n")
    return run


def test_the_starter_is_in_the_package() -> None:
    assert hub.find("starter") == hub.STARTER
    assert hub.STARTER.parent == Path(hub.__file__).parents[1]


def test_folders(folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.find(str(folder), store=store) == folder
    monkeypatch.chdir(folder.parent)
    assert hub.find("model", store=store) == Path("model")
    assert hub.find("./model", store=store) == Path("model")
    monkeypatch.setenv("HOME", str(folder.parent))
    assert hub.find("~/model", store=store) == folder


def test_runs_stand_for_their_best_checkpoint(tmp_path: Path, store: Path) -> None:
    run = make_run(tmp_path / "run", last="200")
    assert hub.find(str(run), store=store) == run / "checkpoints" / "200"
    (run / "best").write_text("100\n")
    assert hub.find(str(run), store=store) == run / "checkpoints" / "100"
    assert hub.find(str(run / "checkpoints" / "200"), store=store) == run / "checkpoints" / "200"


@pytest.mark.parametrize(
    ("pointers", "words"),
    [
        ({}, "has no checkpoint yet; let it train on"),
        ({"best": "300"}, r"best names the checkpoint '300', which is not in .*checkpoints"),
        ({"last": "../../etc"}, r"last names the checkpoint '../../etc', which is not in"),
        ({"last": ""}, r"last names the checkpoint '', which is not in"),
    ],
)
def test_runs_without_a_checkpoint(tmp_path: Path, pointers: dict[str, str], words: str) -> None:
    run = make_run(tmp_path / "run", **pointers)
    with pytest.raises(ModelError, match=words):
        hub.find(str(run))


@pytest.mark.parametrize(
    "name",
    ["nosuch", "", "../x", "a/b/c", "x\0y", "y" * 5000, "~nobody/x", "%2e%2e/x", "a/..", "x\ny", "d/" * 3000],
)
def test_unknown_names_name_the_alternatives(store: Path, name: str) -> None:
    with pytest.raises(ModelError) as caught:
        hub.find(name, store=store)
    message = str(caught.value)
    assert (
        "here; use starter, give the folder of a model or of a run, or fetch gpt2: inkfish models pull"
        in message
    )
    assert "\n" not in message
    assert len(message) < 320


def test_known_names_say_how_to_fetch_them(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, file: None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ModelError, match=r"there is no model 'gpt2-xl' here; .* fetch it: inkfish models pull gpt2-xl"
    ):
        hub.find("gpt2-xl", store=store)


def test_what_other_programs_fetched_is_found(
    folder: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache of huggingface_hub, laid out as it lays it out."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    repo = tmp_path / "cache" / "models--openai-community--gpt2"
    snapshot = repo / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "blobs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    for path in folder.iterdir():
        shutil.copy(path, repo / "blobs" / path.name)
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    assert hub.find("gpt2", store=store) == snapshot
    assert hub.find("openai-community/gpt2", store=store) == snapshot
    assert huggingface.read(snapshot).config.n_layer == 2


@pytest.mark.parametrize(
    "folder", [FIXTURES / "openai", FIXTURES / "gpt-2-simple" / "checkpoint" / "run1"], ids=["openai", "run"]
)
def test_import_makes_a_folder_of_ours(store: Path, folder: Path) -> None:
    from inkfish.weights import openai

    assert import_folder(folder, "mine", store=store) == store / "mine"
    assert list(hub.stored(store)) == [("mine", store / "mine")]
    found = huggingface.read(hub.find("mine", store=store))
    assert found.eos == 276
    for name, tensor in openai.read(folder).tensors.items():
        assert np.array_equal(found.tensors[name], tensor)
    tokenizer = Tokenizer.load(store / "mine", vocab_size=277)
    assert tokenizer.encode("the ghost") == Tokenizer.load(folder, vocab_size=277).encode("the ghost")


def test_import_keeps_type_card_and_defaults(store: Path, tmp_path: Path) -> None:
    config = ModelConfig(n_layer=1, n_head=1, n_embd=2, n_positions=8, vocab_size=50_257)
    zeros: dict[str, NDArray[np.float32]] = {
        name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()
    }
    defaults = huggingface.GenerationDefaults(temperature=0.5)
    huggingface.write(tmp_path / "m", config, zeros, dtype="float16", generation=defaults)
    (tmp_path / "m" / "README.md").write_text("A card.")
    import_folder(tmp_path / "m", "someone/odd.name-1", store=store)
    found = hub.find("someone/odd.name-1", store=store)
    assert found.parent == store
    assert (found / "README.md").read_text() == "A card."
    checkpoint = huggingface.read(found)
    assert (checkpoint.dtype, checkpoint.eos, checkpoint.generation.temperature) == ("float16", 50256, 0.5)


def test_names_that_are_taken_or_impossible(store: Path) -> None:
    import_folder(FIXTURES / "openai", "mine", store=store)
    with pytest.raises(ModelError, match="the name mine is taken; choose another --name, or first: ink"):
        import_folder(FIXTURES / "openai", "mine", store=store)
    with pytest.raises(ModelError, match="gpt2 is the name of a model on the hub; choose another --name"):
        import_folder(FIXTURES / "openai", "gpt2", store=store)
    for name in ("starter", "../mine", "a/b/c", "", ".hidden", "a b", "x" * 300, "a/../b", "é"):
        with pytest.raises(ModelError, match="can't be a model's name; use letters"):
            import_folder(FIXTURES / "openai", name, store=store)
    assert [name for name, _ in hub.stored(store)] == ["mine"]


def test_damaged_models_are_not_imported(store: Path, tmp_path: Path) -> None:
    folder = import_folder(FIXTURES / "openai", "model", store=tmp_path)
    tensors = {name: tensor.copy() for name, tensor in huggingface.read(folder).tensors.items()}
    tensors["ln_f.bias"][0] = np.inf
    from safetensors.numpy import save_file

    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"values that are not finite \(ln_f.bias has 1\)"):
        import_folder(folder, "mine", store=store)
    assert not store.exists()


def test_a_model_without_vocabulary_is_not_imported(store: Path, folder: Path) -> None:
    with pytest.raises(InkfishError):
        import_folder(folder, "mine", store=store)
    assert not store.exists()


def test_remove(store: Path) -> None:
    import_folder(FIXTURES / "openai", "mine", store=store)
    partial = store / ".mine.0123456789ab.partial"
    partial.mkdir()
    assert hub.remove("mine", store=store) == store / "mine"
    assert list(store.iterdir()) == []
    with pytest.raises(ModelError, match="there is no fetched or imported model 'mine'; there is: none"):
        hub.remove("mine", store=store)
    import_folder(FIXTURES / "openai", "other", store=store)
    with pytest.raises(ModelError, match="there is: other"):
        hub.remove("mine", store=store)
    for name in ("starter", "../store", str(store / "other"), "other/.."):
        with pytest.raises(ModelError, match="can't be a model's name"):
            hub.remove(name, store=store)
    assert (store / "other").is_dir()


@given(st.text(st.sampled_from("aZ9./-_%~\\ \0é"), max_size=12))
def test_no_name_leaves_the_store(name: str) -> None:
    """Every name is refused, or is that of a visible folder directly in the store."""
    store = Path("/some/store")
    try:
        place = hub.place(name, store)
    except ModelError:
        return
    assert place.parent == store
    assert place.name == Path(place.name).name
    assert not place.name.startswith(".")
    assert place.resolve() == place


def test_the_store_is_a_place_of_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """$XDG_DATA_HOME where it is an absolute path, else ~/.local/share."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for value, expected in [("/some/where", "/some/where"), ("relative", None), ("", None), (None, None)]:
        monkeypatch.delenv("XDG_DATA_HOME", raising=False)
        if value is not None:
            monkeypatch.setenv("XDG_DATA_HOME", value)
        base = Path(expected) if expected else tmp_path / ".local" / "share"
        assert hub.default_store() == base / "inkfish" / "models"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    import_folder(FIXTURES / "openai", "mine")
    assert hub.find("mine") == tmp_path / "data" / "inkfish" / "models" / "mine"
    assert [name for name, _ in hub.stored()] == ["mine"]
    assert hub.remove("mine").parent == hub.default_store()
