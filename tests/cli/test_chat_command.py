"""`inkfish chat` with the tiny model: pipes, files, the loop; its context of 48 is full after a few lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from prompt_toolkit import PromptSession
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from inkfish.cli import chats
from inkfish.cli.conversing import Chat, answer, converse
from inkfish.cli.interactive import keys
from inkfish.cli.output import Output
from inkfish.cli.talker import ReplyOptions, Talker, with_about
from inkfish.config import ModelConfig
from inkfish.errors import InkfishError, SettingError
from inkfish.generate import LanguageModel, load
from inkfish.heads import ScalarHead
from inkfish.model import GPT2
from inkfish.tasks.chat import Dialogue
from inkfish.tasks.conversation import Conversation
from inkfish.tasks.speaking import Turn
from inkfish.tasks.transfertransfo import SPECIALS
from inkfish.tokenizer import Tokenizer
from inkfish.tokenizer.vocabulary import Vocabulary
from inkfish.weights import heads, huggingface

if TYPE_CHECKING:
    from tests.cli.conftest import Inkfish

SHORT = ("--no-persona", "--max-tokens", "6", "--seed", "3")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.fixture(scope="module")
def writer(model: str) -> LanguageModel:
    return load(model)


def only_file() -> dict[str, Any]:
    [path] = chats.shelf().iterdir()
    value: dict[str, Any] = json.loads(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600
    return value


def test_one_message_gets_the_tasks_reply(inkfish: Inkfish, model: str, writer: LanguageModel) -> None:
    result = inkfish("chat", "hi", *SHORT, "-m", model)
    expected = "".join(Turn(writer, Conversation(seed=3).heard("hi"), max_tokens=6))
    assert (result.code, result.out) == (0, expected + "\n")
    assert result.err.startswith("seed 3 · bot: nobody in particular\n")
    assert only_file()["turns"] == ["hi", expected]


def test_a_pipe_is_one_conversation(inkfish: Inkfish, model: str) -> None:
    together = inkfish("chat", *SHORT, "-m", model, stdin=b"a\r\nb\nc")
    assert together.code == 0
    assert together.out.count("\n") == 3
    apart = [inkfish("chat", "a", *SHORT, "-m", model).out]
    apart += [inkfish("chat", text, "--continue", "--max-tokens", "6", "-m", model).out for text in "bc"]
    assert "".join(apart) == together.out


def test_refused_lines_change_nothing(inkfish: Inkfish, model: str) -> None:
    good = inkfish("chat", "-", *SHORT, "--no-keep", "-m", model, stdin=b"a\nb\n")
    mixed = inkfish("chat", *SHORT, "-m", model, stdin=b"a\n\n\x1b[2J\n\xff\n" + b"x" * 60 + b"\nb\n")
    assert mixed.code == 2
    first, *empty, last = mixed.out.splitlines(keepends=True)
    assert first + last == good.out
    assert empty == ["\n"] * 4
    for message in (
        "inkfish: line 2 is empty; write something\n",
        "inkfish: line 3 has the control character U+001B at character 1; remove it\n",
        "inkfish: line 4 is not UTF-8: byte 0xff at offset 0",
        "inkfish: the message has ",
    ):
        assert message in mixed.err
    assert only_file()["turns"][::2] == ["a", "b"]
    again = inkfish("chat", *SHORT, "--json", "--no-keep", "-m", model, stdin=b"\na\n")
    bad, reply = map(json.loads, again.out.splitlines())
    assert bad == {"error": "line 1 is empty; write something"}
    assert reply["reply"] + "\n" == first
    assert (reply["message"], reply["seed"], reply["dropped"]) == ("a", 3, 0)


def test_old_lines_are_dropped_and_said(inkfish: Inkfish, model: str) -> None:
    result = inkfish("chat", *SHORT, "-m", model, stdin=b"aaaa\n" * 6)
    assert (result.code, result.out.count("\n")) == (0, 6)
    assert "the context is full: the model no longer sees the first " in result.err
    assert only_file()["dropped"] > 0


def test_personas_come_from_options_files_and_the_package(
    inkfish: Inkfish, model: str, tmp_path: Path
) -> None:
    file = tmp_path / "who.txt"
    file.write_text("\nI.\n\nb\n")
    words = ("--persona-file", str(file), "--about-me", "c", "--topic", "e", "--max-tokens", "2")
    assert inkfish("chat", "hi", "--persona", "I am.", *words, "-m", model).code == 2  # 48 tokens are few
    assert inkfish("chat", "hi", *words, "-m", model).code == 0
    found = only_file()
    assert found["about_bot"] == ["I.", "b"]
    assert (found["about_user"], found["topic"]) == (["c"], "e")
    drawn = inkfish("chat", "hi", "-m", model)
    assert drawn.err.startswith("inkfish: the personas have ")


def test_two_talk_in_a_file(inkfish: Inkfish, model: str, tmp_path: Path) -> None:
    out = tmp_path / "talks.jsonl"
    words = ("--persona", "I.", "--about-me", "U.", "--max-tokens", "4", "--seed", "7", "-m", model)
    result = inkfish("chat", "--self", "2", "--turns", "5", *words, "--out", str(out))
    assert (result.code, result.out) == (0, "")
    assert result.err.endswith("seeds 7 to 8 · 2 dialogues of 5 lines\n")
    first, second = map(json.loads, out.read_text().splitlines())
    assert (first["seed"], first["about_bot"], first["about_user"]) == (7, ["I."], ["U."])
    assert (len(first["turns"]), len(second["turns"])) == (5, 5)
    alone = inkfish("chat", "--self", "1", "--turns", "5", *words, "--seed", "8")
    assert alone.code == 2  # a seed given twice
    alone = inkfish("chat", "--self", "1", "--turns", "5", *words[:-4], "--seed", "8", "-m", model)
    assert json.loads(alone.out) == second
    assert not chats.shelf().exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--continue"], "there is no conversation to continue yet; begin one without --continue"),
        (["--load", "x", "--continue"], "--continue and --load are both given; leave one out"),
        (
            ["--load", "gone"],
            "there is no conversation gone; give a file, or the name of a kept one: none yet",
        ),
        (["--load", "BAD"], "BAD is no conversation; it must be one JSON object, as /save writes it"),
        (["hi", "--self", "1"], "--self lets two personas talk by themselves; leave out the message"),
        (["--self", "0"], "--self is 0; it must be a whole number, 1 or more"),
        (["--self", "1", "--turns", "0"], "--turns is 0; it must be a whole number, 1 or more"),
        (["hi", "--turns", "3"], "--turns is for --self, where two personas talk; leave it out"),
        (["hi", "--persona", " "], "--persona is empty; write something"),
        (["hi", "--about-me", "a\x07"], "--about-me has the control character U+0007 at character 2"),
        (["hi", "--topic", " "], "--topic is empty; write something"),
        (["hi", "--persona-file", "EMPTY"], "EMPTY has no sentences; write one a line"),
        (["hi", "--persona-file", "gone.txt"], "there is no file gone.txt; check the name"),
        (["hi", "--seed", str(2**63)], f"--seed is {2**63}; it must be a whole number, from {-(2**63)} to"),
        (["hi", *SHORT, "--temperature", "3"], "--temperature is 3.0; it must be a number from 0 to 2"),
        (
            ["hi", "--no-persona", "--max-tokens", "0"],
            "--max-tokens is 0; it must be a whole number, 1 or more",
        ),
        (["hi", "--no-persona", "--max-tokens", "99"], "the personas have "),
        ([" ", *SHORT], "the message is empty; write something"),
    ],
)
def test_mistakes(inkfish: Inkfish, model: str, tmp_path: Path, words: list[str], message: str) -> None:
    files = {"BAD": tmp_path / "bad.json", "EMPTY": tmp_path / "empty.txt"}
    files["BAD"].write_text("[1]")
    files["EMPTY"].write_text("\n \n")
    for name, path in files.items():
        words = [str(path) if word == name else word for word in words]
        message = message.replace(name, str(path))
    result = inkfish("chat", *words, "-m", model)
    assert (result.code, result.out) == (2, "")
    assert f"inkfish: {message}" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "f is no conversation; it must be one JSON object"),
        ("[" * 100_000, "f is no conversation"),
        ({"turns": "hi"}, "f: turns must be a list of texts"),
        ({"about_bot": [1]}, "f: about_bot must be a list of texts"),
        ({"about_user": ["\ud800"]}, "f: about_user must be a list of texts"),
        ({"topic": None}, "f: topic must be a text"),
        ({"seed": 1.5}, r"f: seed is 1.5; it must be a whole number from"),
        ({"dropped": 3, "turns": ["a"]}, "f: dropped is 3; it must be a whole number from 0 to 1"),
        ({"retries": True}, "f: retries is True"),
    ],
)
def test_files_that_are_no_conversations(value: str | Mapping[str, Any], message: str) -> None:
    with pytest.raises(InkfishError, match=message):
        chats.parse(value if isinstance(value, str) else json.dumps(value), "f")


def test_a_conversation_survives_its_file(tmp_path: Path) -> None:
    dialogue = Dialogue(("hi\u2028", "é\x1b"), ("U.",), ("I.",), "t")
    conversation = Conversation(dialogue, seed=-5, dropped=2, retries=4)
    chats.save(tmp_path / "a.json", conversation, "m")
    assert chats.read(tmp_path / "a.json") == conversation
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.json"]
    with pytest.raises(OSError, match="Not a directory"):
        chats.save(tmp_path / "a.json" / "b.json", conversation, "m")
    assert chats.parse('{"turns": ["hi"]}', "f") == Conversation(Dialogue(("hi",)))


def after(writer: LanguageModel, *lines: str, state: Chat | None = None) -> Chat:
    talker = Talker(writer, {"max_tokens": 4})
    state = state or Chat(Conversation(seed=1))
    for line in lines:
        state = answer(state, line, talker, Output())
    return state


def test_the_loop_talks_and_takes_back(writer: LanguageModel, capsys: pytest.CaptureFixture[str]) -> None:
    one = after(writer, "hi")
    turns = one.conversation.dialogue.turns
    assert (len(turns), turns[0]) == (2, "hi")
    assert capsys.readouterr().out == f"bot: {turns[1]}\n"
    tries = [after(writer, *["/retry"] * count, state=one).conversation for count in range(3)]
    assert len({chat.dialogue.turns[1] for chat in tries}) == 3
    back = after(writer, "/undo", state=one)
    assert (back.conversation.dialogue.turns, back.draft) == ((), "hi")
    assert after(writer, "hi", state=back).conversation == one.conversation
    first, second = after(writer, "/suggest", state=one), after(writer, "/suggest", "/suggest", state=one)
    assert first.conversation.dialogue == one.conversation.dialogue
    assert first.draft != second.draft


def test_the_loop_says_what_the_model_reads(
    writer: LanguageModel, capsys: pytest.CaptureFixture[str]
) -> None:
    state = after(writer, "/persona I b.", "/remember I\nc.", "/me I d.", "/why")
    text = "About A: I d.\nAbout B: I b. I c.\nA:\n("
    assert text in capsys.readouterr().err
    after(writer, "hi <|endoftext|>", "/why", state=after(writer, "/persona none", state=state))
    err = capsys.readouterr().err
    assert "About A: I d.\nA: hi <|endoftext|>\nB:\n(" in err
    assert "bot: nobody in particular" in err
    with pytest.raises(SettingError, match="the personas have"):  # 48 tokens are few
        after(writer, "/persona random")


def test_the_loop_keeps_lists_saves_and_loads(
    writer: LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = Chat(Conversation(), chats.new_path())
    after(writer, "/load")
    assert "no conversation is kept yet" in capsys.readouterr().err
    state = after(writer, "hi", f"/save {tmp_path}/a.json", "/load", state=state)
    assert state.path is not None
    assert chats.read(state.path) == chats.read(tmp_path / "a.json") == state.conversation
    assert f"{state.path.stem}    2 lines  hi\n" in capsys.readouterr().err
    (chats.shelf() / "broken.json").write_text("{")
    again = after(writer, "ok", f"/load {state.path.stem}", "/load", state=state)
    assert again.path == state.path
    assert len(again.conversation.dialogue.turns) == 4
    assert "you: ok\nbot: " in capsys.readouterr().err
    loaded = after(writer, f"/load {tmp_path}/a.json", state=state)
    assert (loaded.conversation, loaded.path == state.path) == (state.conversation, False)
    assert after(writer, f"/load {tmp_path}/a.json").path is None
    chats.save(tmp_path / "odd.json", Conversation(Dialogue(("a", "b", "c"))), "m")
    assert after(writer, f"/load {tmp_path}/odd.json").conversation.dialogue.turns == ("a", "b")
    assert "the last line has no reply and is left out: c\n" in capsys.readouterr().err
    (tmp_path / "file").touch()
    lost = after(writer, "hi", state=Chat(Conversation(), tmp_path / "file" / "b.json"))
    assert (len(lost.conversation.dialogue.turns), lost.path) == (2, None)
    assert "this conversation is not kept: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "the message is empty; write something"),
        ("/sat", r"unknown command /sat; did you mean /save\?; /help shows all"),
        ("/retry", "there is no reply to draw again yet; say something first"),
        ("/undo", "there is nothing to take back; say something first"),
        ("/remember", "the sentence is empty; write something"),
        ("/save", "/save needs a file's name, such as /save talk.json"),
        ("/save FOLDER", "is a folder; name a file in it"),
        ("/save FOLDER/here", "here exists already; choose another name"),
        ("/load gone", "there is no conversation gone"),
    ],
)
def test_mistakes_in_the_loop(writer: LanguageModel, tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "here").touch()
    with pytest.raises(InkfishError, match=message):
        after(writer, line.replace("FOLDER", str(tmp_path)))


def test_a_place_that_breaks_while_saving(
    writer: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(chats, "save", full)
    with pytest.raises(SettingError, match=r"a\.json can't be written: No space left on device"):
        after(writer, f"/save {tmp_path}/a.json")


def test_a_reply_that_is_stopped(
    writer: LanguageModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(self: Turn, said: str) -> Any:
        self._pieces += [said] if said else []
        yield from self._pieces
        raise KeyboardInterrupt

    before = Chat(Conversation(seed=1))
    monkeypatch.setattr(Turn, "__iter__", lambda self: stop(self, ""))
    assert after(writer, "hi", state=before) == before
    assert "stopped; your line is taken back" in capsys.readouterr().err
    monkeypatch.setattr(Turn, "__iter__", lambda self: stop(self, "well"))
    assert after(writer, "hi", state=before).conversation.dialogue.turns == ("hi", "well")


def test_lines_typed_on_a_terminal(writer: LanguageModel, capsys: pytest.CaptureFixture[str]) -> None:
    with create_pipe_input() as keyboard, create_app_session(input=keyboard, output=DummyOutput()):
        keyboard.send_text("/help\rone\\\rtwo\r/sat\r/undo\r!\r\x03/quit\rnever\r")
        session: PromptSession[str] = PromptSession(key_bindings=keys(), multiline=True)
        start = Chat(Conversation(Dialogue(("a", "b")), seed=1), chats.new_path())
        assert converse(start, Talker(writer, {"max_tokens": 4}), session=session) == 0
    err = capsys.readouterr().err
    assert "you: a\nbot: b\n" in err
    assert "/remember SENTENCE" in err
    assert "inkfish: unknown command /sat" in err
    assert only_file()["turns"][2] == "one two!"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that was fine-tuned in the second form: random, over bytes."""
    torch.manual_seed(2)
    folder, names = tmp_path_factory.mktemp("tuned"), ("<|endoftext|>", *SPECIALS)
    shape = ModelConfig(n_layer=1, n_head=2, n_embd=8, n_positions=128, vocab_size=262)
    specials = {name: 256 + i for i, name in enumerate(names)}
    tokenizer = Tokenizer(Vocabulary({bytes([byte]): byte for byte in range(256)}, specials))
    net = GPT2(shape)
    with torch.no_grad():
        net.wte.weight.mul_(20)
    huggingface.write(folder, shape, net.tensors(), tokenizer=tokenizer, eos=256)
    heads.write(folder, {"choice": ScalarHead(8, std=0.5).tensors()})
    return str(folder)


def test_a_fine_tuned_model_talks_in_its_form(tuned: str, capsys: pytest.CaptureFixture[str]) -> None:
    talker = Talker(load(tuned), {"max_tokens": 6}, ReplyOptions(candidates=3))
    state = Chat(with_about(Conversation(seed=1), bot=True, sentences=("I b.",)))
    for line in ("hi <|eos|>", "/why"):
        state = answer(state, line, talker, Output())
    assert len(state.candidates) > 1
    seen, said = capsys.readouterr().err, state.conversation.dialogue.turns[1]
    assert "speaker1 │ <|bos|> I b.\nspeaker2 │ <|speaker2|> hi <|eos|>\nspeaker1 │ <|speaker1|>\n(" in seen
    assert state.candidates[0].text == said
    assert f", choice {state.candidates[0].choice:.2f})  " in seen
    state = answer(state, "/retry", talker, Output())
    state = answer(state, "/undo", talker, Output())
    assert (state.candidates, state.conversation.dialogue.turns) == ((), ())
    state = answer(answer(state, "so", talker, Output()), "/suggest", talker, Output())
    assert state.draft
    beams = Talker(load(tuned), {"max_tokens": 6}, ReplyOptions(beams=2, history=1))
    for line in ("a", "b", "c", "d"):
        state = answer(state, line, beams, Output())
    assert state.conversation.dropped > 0
    assert "context is full" not in capsys.readouterr().err


def test_the_second_form_through_a_pipe(inkfish: Inkfish, tuned: str, tmp_path: Path) -> None:
    words = ("chat", "hi", "--model", tuned, "--seed", "1", "--max-tokens", "6", "--no-keep")
    plain = inkfish(*words, "--json")
    row = json.loads(plain.out)
    assert "candidates" not in row
    chosen = json.loads(inkfish(*words, "--json", "--candidates", "3").out)
    assert chosen["reply"] == chosen["candidates"][0]["text"]
    assert {"text", "score", "likelihood", "choice", "gain"} == set(chosen["candidates"][0])
    other = inkfish(*words, "--form", "transcript", "--json")
    assert json.loads(other.out)["reply"] != row["reply"]
    assert "the topic is not seen" in inkfish(*words, "--topic", "ink").err
    path = tmp_path / "talk.jsonl"
    alone = ("chat", "--self", "2", "--turns", "3", "--model", tuned, "--seed", "1", "--max-tokens", "6")
    assert inkfish(*alone, "--persona", "I b.", "--about-me", "I c.", "--out", str(path)).code == 0
    assert [len(json.loads(line)["turns"]) for line in path.read_text().splitlines()] == [3, 3]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--candidates", "0"], "--candidates is 0; it must be a whole number, from 1 to 100"),
        (["--beams", "65"], "--beams is 65; it must be a whole number, from 0 to 64"),
        (["--history", "-1"], "--history is -1; it must be a whole number, 0 or more"),
        (["--form", "haiku"], "--form is 'haiku'; choose one of transcript, transfertransfo"),
        (["--persona", "x" * 200], "the personas have 204 tokens; with a reply of 6 they must fit"),
    ],
)
def test_mistakes_in_the_second_form(inkfish: Inkfish, tuned: str, words: list[str], message: str) -> None:
    found = inkfish("chat", "hi", "--model", tuned, "--max-tokens", "6", "--no-keep", *words)
    assert (found.code, found.out) == (2, "")
    assert message in found.err
    assert found.err.count("\n") == 1


def test_a_model_without_the_form(inkfish: Inkfish, model: str) -> None:
    found = inkfish("chat", "hi", "--model", model, "--form", "transfertransfo", "--no-keep")
    assert found.code == 2
    assert "no special token '<|bos|>'" in found.err
