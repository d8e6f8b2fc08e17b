"""The loop of `inkfish chat` on a terminal: the user's lines, the model's replies, commands with a slash."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from prompt_toolkit import PromptSession

from inkfish.cli import chats
from inkfish.cli.interactive import history, keys
from inkfish.cli.messages import suggestion
from inkfish.cli.output import Output, check_target, note
from inkfish.cli.talker import NOBODY, Talker, candidate_line, ended, told, with_about
from inkfish.errors import InkfishError, SettingError
from inkfish.tasks.choosing import Candidate
from inkfish.tasks.conversation import Conversation, check_line, personas
from inkfish.tasks.speaking import Chosen

__all__ = ["Chat", "answer", "converse"]

HELP = """\
Enter                sends your line (Alt-Enter, or \\ at the end of a line: a new line in it)
Ctrl-C               stops a reply and keeps what was said; Ctrl-D leaves
/persona [TEXT]      shows who the bot is, or makes it somebody else; also: /persona random, /persona none
/remember SENTENCE   adds a sentence to what the bot is and knows
/me SENTENCE         adds a sentence to what is known about you
/suggest             writes your next line, for you to change or send
/retry               draws another reply
/undo                takes the last exchange back
/why                 shows what the model read for its last reply, and the replies it chose among
/save FILE           saves the conversation;  /load [NAME]  goes on with another one, or lists them
/help, /quit         this page; leave (the conversation is kept: inkfish chat --continue)"""
LISTED = 10


@dataclass(frozen=True)
class Chat:
    """What the loop knows between two lines; each line makes a new one."""

    conversation: Conversation
    path: Path | None = None
    """Where it is kept; None keeps nothing."""
    draft: str = ""
    """What stands in the user's next line already."""
    candidates: tuple[Candidate, ...] = ()
    """What was thought of for the last reply, best first; empty where only one was."""
    over: bool = False
    """Whether to leave."""


Command = Callable[[Chat, str, Talker, Output], Chat]


def speak(chat: Chat, conversation: Conversation, talker: Talker, output: Output) -> Chat:
    """Let the bot speak next, and keep the conversation; a turn that was stopped unspoken changes nothing."""
    fitted = talker.fit(conversation)
    turn = talker.turn(fitted)
    output.write("bot: ", bold=True)
    stopped = False
    try:
        for piece in turn:
            output.write(piece)
    except KeyboardInterrupt:
        stopped = True
    turn.close()
    output.write("\n")
    if stopped and not turn.text:
        note("stopped; your line is taken back")
        return chat
    if not stopped:
        told(turn, talker.longest)
    thought = turn.candidates if isinstance(turn, Chosen) else ()
    return replace(keep(chat, fitted.heard(turn.text), talker), candidates=thought)


def keep(chat: Chat, conversation: Conversation, talker: Talker) -> Chat:
    """Return the chat with a conversation, and keep that in its file."""
    path = talker.keep(conversation, chat.path)
    return replace(chat, conversation=conversation, path=path, candidates=())


def persona(chat: Chat, argument: str, talker: Talker, output: Output) -> Chat:
    """`/persona`: show it, replace it, draw another one, take it away."""
    sentences: tuple[str, ...] = (argument,)
    if not argument:
        return show_persona(chat)
    if argument == "none":
        sentences = ()
    elif argument == "random":
        sentences = random.Random(secrets.randbits(64)).choice(personas())
    return change(chat, talker, bot=True, sentences=sentences)


def show_persona(chat: Chat) -> Chat:
    """Say what is known about the two."""
    dialogue = chat.conversation.dialogue
    note(f"bot: {' '.join(dialogue.about_bot) or NOBODY}")
    if dialogue.about_user:
        note(f"you: {' '.join(dialogue.about_user)}")
    return chat


def change(chat: Chat, talker: Talker, *, bot: bool, sentences: tuple[str, ...]) -> Chat:
    """Put other sentences, if they fit the context."""
    checked = tuple(check_line(sentence, "the sentence") for sentence in sentences)
    changed = talker.fit(with_about(chat.conversation, bot=bot, sentences=checked))
    return show_persona(keep(chat, changed, talker))


def remember(chat: Chat, argument: str, talker: Talker, output: Output) -> Chat:
    """`/remember`: one more sentence about the bot."""
    return change(chat, talker, bot=True, sentences=(*chat.conversation.dialogue.about_bot, argument))


def introduce(chat: Chat, argument: str, talker: Talker, output: Output) -> Chat:
    """`/me`: one more sentence about the user."""
    return change(chat, talker, bot=False, sentences=(*chat.conversation.dialogue.about_user, argument))


def suggest(chat: Chat, argument: str, talker: Talker, output: Output) -> Chat:
    """`/suggest`: the model writes the user's next line; asked again, another one."""
    tries = chat.conversation.retries + 1
    line = talker.suggest(replace(chat.conversation, retries=tries))
    return replace(chat, draft=line, conversation=replace(chat.conversation, retries=tries))


def retry(chat: Chat, argument: str, talker: Talker, output: Output) -> Chat:
    """`/retry`: draw the last reply again; another one each time."""
    before = chat.conversation
    if not before.dialogue.turns:
        raise SettingError("there is no reply to draw again yet; say something first")
    return speak(chat, replace(before.without(1), retries=before.retries + 1), talker, output)


def undo(chat: Chat, argument: str, talker: Talker, output: Output) -> Chat:
    """`/undo`: take the last exchange back; the user's line stands there to be changed."""
    turns = chat.conversation.dialogue.turns
    if not turns:
        raise SettingError("there is nothing to take back; say something first")
    note("taken back")
    return replace(keep(chat, chat.conversation.without(2), talker), draft=turns[-2])


def why(chat: Chat, argument: str, talker: Talker, output: Output) -> Chat:
    """`/why`: show what the model read for its last reply, or will read first, and what it thought of."""
    turns = chat.conversation.dialogue.turns
    before = chat.conversation.without(1) if turns else chat.conversation
    note(talker.input(before))
    candidates = chat.candidates or (talker.judged(before, turns[-1]) if turns else ())
    if candidates:
        note("\n".join(map(candidate_line, candidates)))
    return chat


def save(chat: Chat, argument: str, talker: Talker, output: Output) -> Chat:
    """`/save`: write the conversation to a file that does not exist yet."""
    if not argument:
        raise SettingError("/save needs a file's name, such as /save talk.json")
    path = Path(argument).expanduser()
    check_target(path, "save")
    if path.exists():
        raise SettingError(f"{path} exists already; choose another name")
    try:
        chats.save(path, chat.conversation, talker.model.name)
    except OSError as error:
        raise SettingError(f"{path} can't be written: {error.strerror}") from None
    note(f"saved to {path}")
    return chat


def load(chat: Chat, argument: str, talker: Talker, output: Output) -> Chat:
    """`/load`: go on with a kept or saved conversation; without a name, list the kept ones."""
    if not argument:
        note("\n".join(chats.titles(LISTED)) or "no conversation is kept yet")
        return chat
    path = chats.find(argument)
    conversation = talker.fit(ended(chats.read(path)))
    kept_in = chat.path and chats.place(path)
    opened = replace(chat, conversation=conversation, path=kept_in, candidates=())
    recall(conversation)
    return opened


def explain(chat: Chat, argument: str, talker: Talker, output: Output) -> Chat:
    """`/help`."""
    note(HELP)
    return chat


def leave(chat: Chat, argument: str, talker: Talker, output: Output) -> Chat:
    """`/quit`."""
    return replace(chat, over=True)


COMMANDS: dict[str, Command] = {
    "/help": explain,
    "/persona": persona,
    "/remember": remember,
    "/me": introduce,
    "/suggest": suggest,
    "/retry": retry,
    "/undo": undo,
    "/why": why,
    "/save": save,
    "/load": load,
    "/quit": leave,
}


def answer(chat: Chat, line: str, talker: Talker, output: Output) -> Chat:
    """Return the chat after one line of the user: something said, or a command that starts with a slash.

    Raises:
        InkfishError: a command that does not exist or does not fit, or a line that can't be said.
    """
    word, _, argument = line.strip().partition(" ")
    if word in COMMANDS:
        return COMMANDS[word](replace(chat, draft=""), argument.strip(), talker, output)
    if word.startswith("/") and word[1:].isalpha():
        raise SettingError(f"unknown command {word}{suggestion(word, COMMANDS)}; /help shows all")
    said = check_line(line, "the message")
    return speak(replace(chat, draft=""), chat.conversation.heard(said), talker, output)


def recall(conversation: Conversation) -> None:
    """Show the end of a conversation that goes on."""
    turns = conversation.dialogue.turns
    first = max(0, len(turns) - 4)
    shown = [f"{('you', 'bot')[i % 2]}: {turn}" for i, turn in enumerate(turns) if i >= first]
    note("\n".join([*(["…"] if first else []), *shown]) or "nothing was said yet")


def converse(chat: Chat, talker: Talker, *, session: PromptSession[str] | None = None) -> int:
    """Read lines and write replies until Ctrl-D or `/quit`.

    Args:
        chat: what was said so far, and where it is kept.
        talker: the model.
        session: reads the lines; made here by default.
    """
    if session is None:
        session = PromptSession(history=history("chat_history"), key_bindings=keys(), multiline=True)
    output = Output()
    show_persona(chat)
    if chat.conversation.dialogue.turns:
        recall(chat.conversation)
    note("Say something and press Enter. /help shows more, Ctrl-D leaves.")
    while not chat.over:
        try:
            chat = answer(chat, session.prompt("you: ", default=chat.draft), talker, output)
        except KeyboardInterrupt:
            chat = replace(chat, draft="")
        except EOFError:
            break
        except InkfishError as error:
            note(f"inkfish: {error}")
    return 0
