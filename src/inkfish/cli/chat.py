"""`inkfish chat`: talk with a persona on a terminal or through a pipe, or let two personas talk."""

from __future__ import annotations

import collections
import random
import secrets
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Group, Parameter

from inkfish.cli import chats
from inkfish.cli.drawing import DrawingOptions
from inkfish.cli.options import ModelOptions, examples
from inkfish.cli.output import Output, as_json, note
from inkfish.cli.progress import watched
from inkfish.cli.talker import NOBODY, ReplyOptions, Talker, ended, told, with_about
from inkfish.cli.terminal import on_terminal
from inkfish.cli.texts import STDIN, decode, read_file
from inkfish.engine import check_whole
from inkfish.errors import DataError, InkfishError, SettingError
from inkfish.generate import load as load_model
from inkfish.tasks.conversation import Conversation, check_line, personas
from inkfish.tasks.speaking import Chosen, Turn

__all__ = ["app"]

app = App(
    name="chat",
    help_epilogue=examples(
        "inkfish chat",
        'inkfish chat --persona "I am a baker." --persona "I have a lazy cat."',
        'inkfish chat "What do you do?" --persona-file baker.txt --seed 1',
        "inkfish chat --continue",
        "inkfish chat --json < questions.txt > replies.jsonl",
        "inkfish chat --model runs/chat --candidates 4",
        "inkfish chat --self 100 --turns 10 --out dialogues.jsonl",
        about="On a terminal a conversation begins; in it, /help shows what else can be done. From a pipe, "
        "each line is something said, also one with a slash, and gets one line of reply, an empty one where "
        "it is refused. Conversations are kept on this machine only, in the state folder "
        "(~/.local/state/inkfish). Without a persona, one of the bundled ones is drawn.",
    ),
)


@Parameter(name="*", group=Group("Personas", sort_key=0))
@dataclass(frozen=True)
class PersonaOptions:
    """Who talks."""

    persona: tuple[str, ...] = ()
    """A sentence about the bot, such as "I like cats." (repeatable)."""
    persona_file: Path | None = None
    """Sentences about the bot, one a line."""
    no_persona: bool = False
    """Talk with nobody in particular."""
    about_me: tuple[str, ...] = ()
    """A sentence about you (repeatable)."""
    topic: str | None = None
    """What the conversation is about."""

    def bot(self) -> tuple[str, ...]:
        """The sentences about the bot, if any were given."""
        sentences = tuple(check_line(sentence, "--persona") for sentence in self.persona)
        if self.persona_file is None:
            return sentences
        name = str(self.persona_file)
        lines = [line for line in read_file(self.persona_file).splitlines() if line.strip()]
        if not lines:
            raise DataError(f"{name} has no sentences; write one a line", param="persona_file")
        return (*sentences, *(check_line(line, f"{name}, line {n}") for n, line in enumerate(lines, 1)))

    def user(self) -> tuple[str, ...]:
        """The sentences about the user, if any were given."""
        return tuple(check_line(sentence, "--about-me") for sentence in self.about_me)

    def put(self, conversation: Conversation) -> Conversation:
        """Return a conversation with what was given in place of what it has."""
        bot, user = self.bot(), self.user()
        if bot or self.no_persona:
            conversation = with_about(conversation, bot=True, sentences=bot)
        if user:
            conversation = with_about(conversation, bot=False, sentences=user)
        if self.topic is not None:
            topic = check_line(self.topic, "--topic")
            conversation = replace(conversation, dialogue=replace(conversation.dialogue, topic=topic))
        return conversation


@app.default
def chat(
    message: str | None = None,
    /,
    *,
    resume: Annotated[bool, Parameter(name="--continue")] = False,
    load: str | None = None,
    no_keep: bool = False,
    dialogues: Annotated[int | None, Parameter(name="--self")] = None,
    turns: int | None = None,
    out: Path | None = None,
    json: bool = False,
    who: PersonaOptions = PersonaOptions(),  # frozen
    replies: ReplyOptions = ReplyOptions(),  # noqa: B008  # frozen
    model: ModelOptions = ModelOptions(),  # noqa: B008  # frozen
    drawing: DrawingOptions = DrawingOptions(),  # noqa: B008  # frozen
) -> int:
    """Talk with a persona.

    Args:
        message: Something to say; - reads from a pipe, one message a line.
        resume: Go on with the last conversation.
        load: Go on with this one: its file, or a name that /load lists.
        no_keep: Do not keep the conversation.
        dialogues: Let two personas talk: so many dialogues, one JSON object a line.
        turns: With --self, how many lines each dialogue has; by default 8.
        out: Write to this file instead of the terminal.
        json: Print each reply as JSON.
        who: Who talks.
        replies: How replies come about.
        model: Which model, and how it is run.
        drawing: How tokens are chosen; by default temperature 0.7, top-p 0.9, at most 40 tokens.
    """
    path = find_place(resume, load)
    settings = drawing.given()
    seed = checked_seed(settings.pop("seed", None))
    if dialogues is not None:
        refuse_talk(message, path)
        start, turns = who.put(new(seed)), 8 if turns is None else turns
        check_whole("self", dialogues, 1)
        check_whole("turns", turns, 1)
        with Output(out) as output:
            talker = Talker(load_model(model.model, **model.given()), settings, replies)
            talk_alone(talker, start, dialogues, turns, output, who)
        return 0
    if turns is not None:
        raise SettingError("--turns is for --self, where two personas talk; leave it out", param="turns")
    start = who.put(begin(path, seed, draw=not who.no_persona))
    with Output(out) as output:
        talker = Talker(load_model(model.model, **model.given()), settings, replies)
        start = talker.fit(start)
        if start.dialogue.topic and talker.judge.form.special:
            note("the topic is not seen: this model's form of talk has no place for one")
        place = None if no_keep else chats.new_path() if path is None else chats.place(path)
        if message is None and output.guarded and on_terminal(sys.stdin) and not json:
            from inkfish.cli.conversing import Chat, converse

            return converse(Chat(start, place), talker)
        note(f"seed {start.seed} · bot: {' '.join(start.dialogue.about_bot) or NOBODY}")
        pipe = Pipe(talker, output, place, json=json)
        if message is None or message == STDIN:
            return pipe.run(sys.stdin.buffer if sys.stdin is not None else (), start)
        pipe.exchange(start, message, "the message")
    return 0


def find_place(resume: bool, name: str | None) -> Path | None:
    """Return the file of the conversation to go on with, if one is meant."""
    if resume and name is not None:
        raise SettingError("--continue and --load are both given; leave one out", param="load")
    return chats.latest() if resume else None if name is None else chats.find(name)


def checked_seed(seed: int | None) -> int | None:
    """Refuse a seed that a request would not take."""
    if seed is not None:
        check_whole("seed", seed, -(2**63), 2**63 - 1)
    return seed


def new(seed: int | None) -> Conversation:
    """Return a conversation in which nothing was said."""
    return Conversation(seed=secrets.randbelow(2**32) if seed is None else seed)


def begin(path: Path | None, seed: int | None, *, draw: bool) -> Conversation:
    """Return the conversation of a file, or a new one, with a drawn persona if wanted."""
    if path is None:
        conversation = new(seed)
        sentences = random.Random(conversation.seed).choice(personas()) if draw else ()
        return with_about(conversation, bot=True, sentences=sentences)
    conversation = ended(chats.read(path))
    return conversation if seed is None else replace(conversation, seed=seed)


class Pipe:
    """Messages in, replies out, one line each."""

    def __init__(self, talker: Talker, output: Output, path: Path | None, *, json: bool) -> None:
        self.talker, self.output, self.path, self.json = talker, output, path, json

    def run(self, lines: Iterable[bytes], conversation: Conversation) -> int:
        """Reply to each line; one that is refused is said, gets an empty line and changes nothing."""
        code = 0
        for number, line in enumerate(lines, 1):
            name = f"line {number}"
            try:
                conversation = self.exchange(conversation, decode(line, name), name)
            except InkfishError as error:
                note(f"inkfish: {error}")
                self.output.write(as_json({"error": str(error)}, indent=None) + "\n" if self.json else "\n")
                code = 2
        return code

    def exchange(self, conversation: Conversation, message: str, name: str) -> Conversation:
        """Reply to one message, and return the conversation after it.

        Raises:
            InkfishError: the message is refused.
        """
        said = check_line(message, name)
        fitted = self.talker.fit(conversation.heard(said))
        turn = self.talker.turn(fitted)
        if self.json:
            collections.deque(turn, maxlen=0)
            self.output.write(as_json(reply_json(turn, said, fitted), indent=None) + "\n")
        else:
            for piece in turn:
                self.output.write(piece)
            self.output.write("\n")
            told(turn, self.talker.longest)
        after = fitted.heard(turn.text)
        self.path = self.talker.keep(after, self.path)
        return after


def reply_json(turn: Turn | Chosen, message: str, conversation: Conversation) -> dict[str, Any]:
    """Return what `--json` prints for one reply."""
    thought = [asdict(candidate) for candidate in turn.candidates] if isinstance(turn, Chosen) else []
    return {
        "message": message,
        "reply": turn.text,
        "finish_reason": turn.finish_reason,
        "tokens": turn.tokens,
        "tries": turn.tries,
        "repeated": turn.repeated,
        "seed": conversation.seed,
        "dropped": conversation.dropped,
        **({"candidates": thought} if thought else {}),
    }


def refuse_talk(message: str | None, path: Path | None) -> None:
    """Refuse what has no place where two personas talk."""
    if message is not None or path is not None:
        raise SettingError(
            "--self lets two personas talk by themselves; leave out the message, --continue and --load",
            param="self",
        )


def talk_alone(
    talker: Talker, start: Conversation, count: int, turns: int, output: Output, who: PersonaOptions
) -> None:
    """Write so many dialogues of two personas, each drawn unless given, each with a seed of its own."""
    for conversation in watched(alone(talker, start, count, turns, who), count, "talking"):
        row = chats.record(conversation, talker.model.name)
        output.write(as_json(row, indent=None) + "\n")
    note(f"seeds {start.seed} to {start.seed + count - 1} · {count:,} dialogues of {turns} lines")


def alone(
    talker: Talker, start: Conversation, count: int, turns: int, who: PersonaOptions
) -> Iterator[Conversation]:
    """Yield dialogues of two personas."""
    for seed in range(start.seed, start.seed + count):
        bot, user = random.Random(seed).sample(personas(), 2)
        first = with_about(new(seed), bot=True, sentences=bot)
        first = who.put(with_about(first, bot=False, sentences=user))
        yield talker.talk(first, turns)
