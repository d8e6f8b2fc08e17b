"""What Radford et al. 2019 print, and which of our numbers stands beside it.

Transcribed from the paper; sizes by the layers of the model. Two columns are matched to how the public found
them to come out, not to the protocol's words: LAMBADA by the last token (by the last word 124M gets 32.6
%), and WikiText-2 per token of the raw text (WikiText-103, the same text, per word).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["ABSTRACTIVE", "COLUMNS", "CONVAI2", "LAYERS", "OTHERS", "TABLE_3", "Column"]


class Column(NamedTuple):
    """A column of Table 3."""

    title: str
    """As the paper has it."""
    suite: str
    """Ours."""
    number: str
    """The suite's number that stands beside it."""
    raw: bool = False
    """Whether the suite reads the data without a de-tokeniser."""


COLUMNS = (
    Column("LAMBADA (PPL)", "lambada", "last-token perplexity"),
    Column("LAMBADA (ACC)", "lambada", "last-token accuracy"),
    Column("CBT-CN (ACC)", "cbt-cn", "accuracy"),
    Column("CBT-NE (ACC)", "cbt-ne", "accuracy"),
    Column("WikiText2 (PPL)", "wikitext2", "perplexity per token", raw=True),
    Column("PTB (PPL)", "ptb", "perplexity"),
    Column("enwik8 (BPB)", "enwik8", "bits per byte"),
    Column("text8 (BPC)", "text8", "bits per byte"),
    Column("WikiText103 (PPL)", "wikitext103", "perplexity"),
    Column("1BW (PPL)", "1bw", "perplexity"),
)

LAYERS = {12: "117M", 24: "345M", 36: "762M", 48: "1542M"}
"""Layers → the paper's name of the size."""

TABLE_3: Mapping[str, tuple[float, ...]] = {
    "SOTA": (99.8, 59.23, 85.7, 82.3, 39.14, 46.54, 0.99, 1.08, 18.3, 21.8),
    "117M": (35.13, 45.99, 87.65, 83.4, 29.41, 65.85, 1.16, 1.17, 37.50, 75.20),
    "345M": (15.60, 55.48, 92.35, 87.1, 22.76, 47.33, 1.01, 1.06, 26.37, 55.72),
    "762M": (10.87, 60.12, 93.45, 88.0, 19.93, 40.31, 0.97, 1.02, 22.05, 44.575),
    "1542M": (8.63, 63.24, 93.30, 89.05, 18.34, 35.76, 0.93, 0.98, 17.48, 42.16),
}
"""Zero-shot results; the first row is the state of the art before."""

ABSTRACTIVE: Mapping[str, tuple[float, float, float, float]] = {
    "Bottom-Up Sum": (41.22, 18.68, 38.34, 32.75),
    "Lede-3": (40.38, 17.66, 36.62, 31.55),
    "Seq2Seq + Attn": (31.33, 11.81, 28.83, 23.99),
    "GPT-2 TL;DR:": (29.34, 8.27, 26.58, 21.40),
    "Random-3": (28.78, 8.63, 25.52, 20.98),
    "GPT-2 no hint": (21.58, 4.03, 19.47, 15.03),
}
"""Table 4: ROUGE-1, -2, -L and their mean on CNN/Daily Mail, of the largest model."""

OTHERS = {
    "winograd": ("Winograd schemas, accuracy", 70.70, "accuracy, partial scoring"),
    "coqa": ("CoQA, F1", 55.0, "F1"),
    "naturalquestions": ("Natural Questions, exact match", 4.1, "exact match"),
}
"""Results of the largest model in the text: suite → title, value, our number."""

CONVAI2: Mapping[str, Mapping[str, float]] = {
    "perplexity per dictionary word": {
        "Hugging Face TransferTransfo, hidden test": 16.28,
        "Hugging Face TransferTransfo": 17.51,
        "its released recipe, GPT-1": 20.5,
        "its released recipe, GPT-2 small, by a user": 178.9,
        "ADAPT Centre": 22.57,
        "seq2seq with attention": 35.07,
    },
    "hits@1 of 20": {
        "Hugging Face TransferTransfo, hidden test": 80.7,
        "Hugging Face TransferTransfo": 82.1,
        "its released recipe, GPT-1 (more than)": 79.0,
        "its released model": 71.5,
        "its released recipe, GPT-2 small, by a user": 73.7,
        "KV profile memory": 55.1,
        "Lost in Conversation": 17.3,
        "seq2seq with attention": 12.5,
    },
    "F1": {
        "Hugging Face TransferTransfo, hidden test": 19.5,
        "Hugging Face TransferTransfo": 19.09,
        "its released recipe, GPT-1": 16.5,
        "its released recipe, GPT-2 small, by a user": 16.43,
        "ADAPT Centre": 20.3,
        "Lost in Conversation": 17.79,
        "seq2seq with attention": 16.82,
        "KV profile memory": 11.72,
    },
}
"""ConvAI2: our number → system → what is published, of PERSONA-CHAT (self, original), validation unless said.

From the competition's README and leaderboard, the README of transfer-learning-conv-ai, and its issue 63.
Their perplexities are per word of ParlAI's dictionary.
"""
