from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from inkfish import load
from inkfish.backends import reference
from inkfish.config import ModelConfig
from inkfish.engine import Kept
from inkfish.errors import ContextError, ModelError, SettingError, TokenizerError
from inkfish.generate import LanguageModel
from inkfish.generate.beam import beam_search
from inkfish.heads import ScalarHead
from inkfish.model import GPT2
from inkfish.tasks.chat import Dialogue
from inkfish.tasks.choosing import BEAM_NGRAM, Judge, drawn, log_shares, readout, searched
from inkfish.tasks.conversation import Conversation, fit
from inkfish.tasks.forms import FORMS, PERSONA, TRANSCRIPT
from inkfish.tasks.speaking import TRIES, Chosen, Turn, fold, talk
from inkfish.tasks.transfertransfo import SPECIALS
from inkfish.tokenizer import Tokenizer
from inkfish.tokenizer.vocabulary import END, Vocabulary
from inkfish.weights import heads, huggingface

SHAPE = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=96, vocab_size=262)
SPECIAL_IDS = {END: 0} | {name: 257 + i for i, name in enumerate(SPECIALS)}
TOKENIZER = Tokenizer(Vocabulary({bytes([byte]): byte + 1 for byte in range(256)}, SPECIAL_IDS))
DIALOGUE = Dialogue(("hi", "yes", "so"), ("I ask.",), ("I bake.",))


@pytest.fixture(scope="module")
def net() -> GPT2:
    torch.manual_seed(5)
    model = GPT2(SHAPE).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def head() -> ScalarHead:
    torch.manual_seed(6)
    return ScalarHead(12, std=0.5)


@pytest.fixture(scope="module")
def babbler(net: GPT2) -> LanguageModel:
    return LanguageModel(reference.load(SHAPE, net.tensors()), TOKENIZER)


@pytest.fixture(scope="module")
def judge(babbler: LanguageModel, net: GPT2, head: ScalarHead) -> Judge:
    return Judge(babbler, PERSONA, readout(net.tensors()["wte.weight"], head.tensors()))


@torch.no_grad()
def test_a_head_reads_logits_as_it_reads_hidden_states(net: GPT2, head: ScalarHead) -> None:
    ids = torch.randint(0, 262, (1, 20))
    hidden = net.hidden(ids)
    bare = readout(net.tensors()["wte.weight"], {"weight": head.tensors()["weight"]})
    whole = readout(net.tensors()["wte.weight"], head.tensors())
    for state, logits in zip(hidden[0], net.head(hidden)[0].numpy(), strict=True):
        assert whole.score(logits) == pytest.approx(head(state).item(), abs=1e-4)
        assert bare.score(logits) == pytest.approx(whole.score(logits) - whole.bias, abs=1e-9)


@torch.no_grad()
def test_the_choice_is_the_head_at_the_last_token(judge: Judge, net: GPT2, head: ScalarHead) -> None:
    found = judge.scores(DIALOGUE, ["oh", "well, well"])
    prompt = PERSONA.prompt(judge.model, DIALOGUE)
    assert prompt.segments is not None
    for candidate in found:
        reply = PERSONA.turn(judge.model, candidate.text)
        assert reply == [*(byte + 1 for byte in f" {candidate.text}".encode()), SPECIAL_IDS["<|eos|>"]]
        ids = torch.tensor([[*prompt.ids, *reply]])
        segments = torch.tensor([[*prompt.segments, *[prompt.segments[-1]] * len(reply)]])
        hidden = net.hidden(ids, segments=segments)
        assert candidate.choice == pytest.approx(head(hidden[0, -1]).item(), abs=1e-4)
        logprobs = net.head(hidden)[0].log_softmax(-1)
        start = len(prompt.ids)
        words = [logprobs[start - 1 + i, token].item() for i, token in enumerate(reply)]
        assert candidate.likelihood == pytest.approx(np.mean(words), abs=1e-4)
        assert candidate.gain is None
    choices = [candidate.choice or 0.0 for candidate in found]
    shares = torch.tensor(choices).log_softmax(0).tolist()
    assert log_shares(choices) == pytest.approx(shares)
    for candidate, share in zip(found, shares, strict=True):
        assert candidate.score == pytest.approx(candidate.likelihood + share, abs=1e-5)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_without_a_head_what_the_dialogue_adds_counts(babbler: LanguageModel, form: object) -> None:
    judge = Judge(babbler, FORMS[form.name])  # type: ignore[attr-defined]
    (found,) = judge.scores(DIALOGUE, ["oh"])
    reply = judge.form.turn(babbler, "oh")
    inside = judge.form.prompt(babbler, DIALOGUE)
    slot = babbler.backend.allocate()
    segments = None if inside.segments is None else [*inside.segments, *[inside.segments[-1]] * len(reply)]
    logits = babbler.backend.prefill(slot, [*inside.ids, *reply], segments, every=True)
    start = len(inside.ids) - 1
    rows = torch.from_numpy(logits[start : start + len(reply)]).log_softmax(-1)
    within = sum(rows[i, token].item() for i, token in enumerate(reply))
    assert found.gain is not None
    assert found.score == found.gain == pytest.approx(within - judge.alone(reply), abs=1e-4)
    assert found.choice is None


def test_nothing_is_alone_but_the_name(babbler: LanguageModel) -> None:
    assert TOKENIZER.decode(TRANSCRIPT.alone(babbler).ids) == f"{END}B:"
    assert TOKENIZER.decode(PERSONA.alone(babbler).ids) == "<|bos|><|speaker1|>"


def test_a_kept_cache_changes_nothing_and_saves_reading(judge: Judge) -> None:
    kept = Kept(judge.model.backend)
    plain = judge.scores(DIALOGUE, ["oh", "no"])
    first = judge.scores(DIALOGUE, ["oh", "no"], kept=kept)
    again = judge.scores(DIALOGUE, ["oh", "no"], kept=kept)
    assert kept.reused == len(PERSONA.prompt(judge.model, DIALOGUE).ids) - 1
    for one, two, three in zip(plain, first, again, strict=True):
        assert one.score == pytest.approx(two.score, abs=1e-5)
        assert one.score == pytest.approx(three.score, abs=1e-5)
    kept.close()


SETTINGS = {"max_tokens": 8, "temperature": 1.0, "seed": 3, "no_repeat_ngram": BEAM_NGRAM}


def test_candidates_are_different_and_say_something(judge: Judge) -> None:
    found = drawn(judge, DIALOGUE, 6, SETTINGS)
    assert len(set(found)) == len(found) > 1
    assert all(found)
    assert found == drawn(judge, DIALOGUE, 6, SETTINGS)


def test_beams_do_not_repeat_persona_or_history(babbler: LanguageModel) -> None:
    judge = Judge(babbler, PERSONA)
    said = Dialogue(("aaaaaa", "abcabc", "aaaaaa"), (), ("abcabcabc",))
    prompt = PERSONA.prompt(babbler, said)
    asked = {"max_tokens": 12}
    for n, settings in ((BEAM_NGRAM, asked), (2, {**asked, "no_repeat_ngram": 2})):
        for text in searched(judge, said, 3, settings):
            ids = [*prompt.ids, *PERSONA.turn(babbler, text)[1:-1]]
            grams = [tuple(ids[i : i + n]) for i in range(len(prompt.ids) - n + 1, len(ids) - n + 1)]
            before = [tuple(ids[i : i + n]) for i in range(len(prompt.ids) - n + 1)]
            assert not set(grams) & set(before), (n, text)


def test_beam_search_with_segments_and_least_tokens(babbler: LanguageModel) -> None:
    prompt = PERSONA.prompt(babbler, DIALOGUE)
    greedy = babbler.generate(prompt, max_tokens=4, temperature=0, stop_ids=(), min_tokens=0)
    (found,) = beam_search(babbler, prompt, beams=1, max_tokens=4, stop_ids=())
    assert found.text == greedy.samples[0].text
    likeliest = int(
        np.argmax(babbler.backend.prefill(babbler.backend.allocate(), prompt.ids, prompt.segments))
    )
    short = beam_search(babbler, prompt, beams=1, max_tokens=4, stop_ids=[likeliest])
    longer = beam_search(babbler, prompt, beams=1, max_tokens=4, stop_ids=[likeliest], min_tokens=2)
    assert short[0].tokens == 1
    assert longer[0].tokens > 2 or not longer[0].complete


def test_who_was_fine_tuned_talks_in_that_form(tmp_path: Path, net: GPT2, head: ScalarHead) -> None:
    plain, tuned, wrong = (tmp_path / name for name in ("plain", "tuned", "wrong"))
    for folder in (plain, tuned, wrong):
        huggingface.write(folder, SHAPE, net.tensors(), tokenizer=TOKENIZER, eos=0)
    heads.write(tuned, {"choice": head.tensors()})
    heads.write(wrong, {"choice": ScalarHead(8).tensors()})
    found = Judge.of(load(plain))
    assert (found.form, found.choice) == (TRANSCRIPT, None)
    found = Judge.of(load(tuned))
    assert found.form is PERSONA
    assert found.choice is not None
    assert found.choice.weights.shape == (262,)
    found = Judge.of(load(tuned), TRANSCRIPT)
    assert (found.form, found.choice) == (TRANSCRIPT, None)
    with pytest.raises(
        ModelError, match="the choice head has 8 channels and the model 12; they do not belong"
    ):
        Judge.of(load(wrong))


def after(*turns: str, seed: int = 0) -> Conversation:
    return Conversation(Dialogue(turns, about_bot=("I bake.",)), seed=seed)


def test_turns_in_the_second_form(babbler: LanguageModel) -> None:
    kept = Kept(babbler.backend)
    for seed in range(6):
        state = fit(babbler, after("hi", seed=seed), max_tokens=12, form=PERSONA)
        turn, bare = (Turn(babbler, state, max_tokens=12, kept=k, form=PERSONA) for k in (kept, None))
        assert "".join(turn) == turn.text == "".join(bare) == turn.text.strip() != ""
        assert "<|" not in turn.text
        assert "\n" not in turn.text
    kept.close()


def test_the_second_form_needs_its_tokens() -> None:
    small = ModelConfig(n_layer=1, n_head=1, n_embd=4, n_positions=96, vocab_size=257)
    tokenizer = Tokenizer(Vocabulary({bytes([byte]): byte + 1 for byte in range(256)}, {END: 0}))
    tensors = {name: np.zeros(shape, np.float32) for name, shape in small.tensor_shapes().items()}
    model = LanguageModel(reference.load(small, tensors), tokenizer)
    with pytest.raises(TokenizerError, match=r"no special token '<\|bos\|>' \(it has <\|endoftext\|>\);"):
        fit(model, after("hi"), form=PERSONA)


def test_the_best_of_several_is_said(judge: Judge) -> None:
    turn = Chosen(judge, after("hi"), candidates=5, max_tokens=8, temperature=1.0)
    assert "".join(turn) == turn.text == turn.candidates[0].text
    scores = [candidate.score for candidate in turn.candidates]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) > 1
    assert (turn.tries, turn.repeated, turn.finish_reason) == (1, False, "stop")
    assert turn.tokens == len(PERSONA.turn(judge.model, turn.text))
    turn.close()
    again = Chosen(judge, after("hi"), candidates=5, max_tokens=8, temperature=1.0)
    assert "".join(again) == turn.text


def test_the_best_is_new(judge: Judge) -> None:
    first = Chosen(judge, after("hi"), candidates=3, max_tokens=8, temperature=1.0)
    said = "".join(first)
    known = Chosen(judge, after("hi"), candidates=3, max_tokens=8, temperature=1.0)
    known._conversation = after("hi")  # the same draw, with what the speaker has said put in its way
    original = known._new

    def new() -> list[str]:
        known._conversation = after("x", said, "hi")
        try:
            return [text for text in original() if text]
        finally:
            known._conversation = after("hi")

    known._new = new  # type: ignore[method-assign]
    assert fold("".join(known)) != fold(said)


def test_who_can_only_repeat_says_so(judge: Judge) -> None:
    once = Chosen(judge, after("hi"), candidates=1, max_tokens=6, temperature=0)
    said = "".join(once)
    state = after("hi", said, "hi")
    turn = Chosen(judge, state, candidates=1, max_tokens=6, temperature=0)
    turn._think = lambda: [said]  # type: ignore[method-assign]
    assert "".join(turn) == said
    assert (turn.tries, turn.repeated) == (1, True)
    drawing = Chosen(judge, state, candidates=1, max_tokens=6)
    drawing._think = list  # type: ignore[method-assign]
    assert "".join(drawing) == ""
    assert (drawing.tries, drawing.repeated, drawing.candidates) == (TRIES, True, ())


def test_beams_are_chosen_among(judge: Judge) -> None:
    turn = Chosen(judge, after("hi"), beams=3, max_tokens=8)
    assert "".join(turn) == turn.candidates[0].text
    assert turn.tries == 1
    with pytest.raises(SettingError, match="beams is 65; it must be from 1 to 64"):
        "".join(Chosen(judge, after("hi"), beams=65, max_tokens=8))
    with pytest.raises(SettingError, match="temperature is 3; it must be a number from 0 to 2"):
        Chosen(judge, after("hi"), temperature=3)


def test_old_turns_are_dropped_in_blocks(babbler: LanguageModel) -> None:
    state, seen = after(), []
    for number in range(12):
        state = fit(babbler, state.heard("ab"[number % 2]), max_tokens=4, form=PERSONA, history=2)
        seen.append(len(state.seen.turns))
    assert seen == [1, 2, 3, 4, 5, 4, 5, 4, 5, 4, 5, 4]
    assert all(after.dropped >= before.dropped for before, after in pairwise([state, state]))
    assert state.dropped % 2 == 0


def test_a_persona_longer_than_the_context(babbler: LanguageModel) -> None:
    state = Conversation(Dialogue(("hi",), about_bot=("x" * 90,)))
    with pytest.raises(ContextError, match="the personas have 94 tokens; with a reply of 40 they must"):
        fit(babbler, state, form=PERSONA)
    with pytest.raises(ContextError, match="the message has 81 tokens; beside the personas"):
        fit(babbler, Conversation(Dialogue(("x" * 80,))), form=PERSONA)


def test_both_speak_in_the_second_form(babbler: LanguageModel) -> None:
    state = talk(babbler, after(), 6, max_tokens=5, form=PERSONA, history=1)
    assert len(state.dialogue.turns) == 6
    assert state.dropped > 0
