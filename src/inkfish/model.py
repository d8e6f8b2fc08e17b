"""GPT-2 in torch, for training and for GPUs (Radford et al. 2019, section 2.3).

Axis legend, here and everywhere: B batch, T time, C embedding, H heads, D head size, V vocabulary, S past+T.
The modules bear OpenAI's names (`wte wpe h ln_1 attn c_attn c_proj ln_2 mlp c_fc ln_f`) and are plain linear
layers; `load_tensors` and `tensors` translate from and to checkpoints, whose matrices are input × output.
Left out: heads other than the language model's (they are modules of their own), decoding (`inkfish.engine`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from inkfish.config import ModelConfig

__all__ = ["GPT2", "Cache", "LayerCache"]


class LayerCache(NamedTuple):
    """Keys and values of one block, each (B, H, S, D)."""

    k: Tensor
    v: Tensor


Cache = list[LayerCache]
"""One `LayerCache` a block; an empty list is an empty cache. Passed in, and a longer one comes out."""


class Attention(nn.Module):
    """Causal self-attention with one fused projection for queries, keys and values."""

    def __init__(self, config: ModelConfig, *, dropout: float) -> None:
        super().__init__()
        self.n_head, self.head_size, self.dropout = config.n_head, config.head_size, dropout
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(
        self, x: Tensor, allowed: Tensor | None, past: LayerCache | None
    ) -> tuple[Tensor, LayerCache]:
        """Return the output (B, T, C), keys and values so far; `allowed` is (B, 1, T, S), None is causal."""
        b, t, c = x.shape
        q, k, v = (
            self.c_attn(x).view(b, t, 3, self.n_head, self.head_size).permute(2, 0, 3, 1, 4)
        )  # each (B, H, T, D)
        if past is not None:
            k, v = torch.cat([past.k, k], dim=2), torch.cat([past.v, v], dim=2)  # (B, H, S, D)
        p = self.dropout if self.training else 0.0
        if allowed is None and trains_in_bfloat16_on_cpu(q):
            y = explicit_attention(q, k, v, dropout=p)
        else:
            y = F.scaled_dot_product_attention(
                q, k, v, attn_mask=allowed, is_causal=allowed is None, dropout_p=p
            )
        return self.c_proj(y.transpose(1, 2).reshape(b, t, c)), LayerCache(k, v)


class MLP(nn.Module):
    """Two linear layers around a GELU in its tanh form."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, config.inner_size)
        self.c_proj = nn.Linear(config.inner_size, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        y: Tensor = self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))
        return y


class Block(nn.Module):
    """One transformer block, layer norms first."""

    def __init__(self, config: ModelConfig, *, dropout: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = Attention(config, dropout=dropout)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)
        self.drop = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, allowed: Tensor | None, past: LayerCache | None
    ) -> tuple[Tensor, LayerCache]:
        """(B, T, C) → (B, T, C) and the keys and values so far."""
        y, present = self.attn(self.ln_1(x), allowed, past)
        x = x + self.drop(y)
        return x + self.drop(self.mlp(self.ln_2(x))), present


class GPT2(nn.Module):
    """The whole model; `head` is the transposed token embedding, so it has no parameters of its own."""

    def __init__(self, config: ModelConfig, *, dropout: float = 0.0, checkpointing: bool = False) -> None:
        """Make a model with the paper's initialisation, drawn from torch's global generator.

        Args:
            config: the shape.
            dropout: probability on embeddings, attention weights and both residual branches while training.
            checkpointing: recompute each block in the backward pass, which saves its activations' memory.
        """
        super().__init__()
        self.config, self.checkpointing = config, checkpointing
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.drop = nn.Dropout(dropout)
        self.h = nn.ModuleList(Block(config, dropout=dropout) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Draw matrices from N(0, 0.02), positions from N(0, 0.01); biases are 0, gains 1.

        Residual projections are scaled by 1/√(2·n_layer), as each block adds to the residual stream twice
        (Radford et al. 2019, section 2.3); the deviations are the released code's.
        """
        for name, parameter in self.named_parameters():
            if name.endswith(".bias"):
                parameter.zero_()
            elif ".ln_" in f".{name}":
                parameter.fill_(1.0)
            else:
                scale = 1 / math.sqrt(2 * self.config.n_layer) if name.endswith("c_proj.weight") else 1.0
                parameter.normal_(0.0, 0.01 if name == "wpe.weight" else 0.02 * scale)

    def forward(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        segments: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Return logits (B, T, V); see `hidden` for the arguments."""
        return self.head(self.hidden(ids, positions=positions, mask=mask, segments=segments, cache=cache))

    def head(self, hidden: Tensor) -> Tensor:
        """Hidden states (…, C) → logits (…, V)."""
        return F.linear(hidden, self.wte.weight)

    def hidden(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        segments: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Return the states after the final layer norm (B, T, C).

        Args:
            ids: token ids (B, T).
            positions: index of each token's position embedding (B, T). By default real tokens count from 0
                along the row, so padding may stand at the left, at the right or in the middle.
            mask: (B, S) bool, True at real tokens, covering the cache too; None where there is no padding.
            segments: token ids (B, T) whose embeddings are added, as Hugging Face's `token_type_ids`.
            cache: keys and values of earlier calls; extended in place by this call's.

        Output at padding is finite and means nothing.
        """
        b, t = ids.shape
        past = cache[0].k.shape[2] if cache else 0
        if positions is None:
            positions = default_positions(mask, b, past, t, ids.device)
        x = self.wte(ids) + self.wpe(positions)  # (B, T, C)
        if segments is not None:
            x = x + self.wte(segments)
        x = self.drop(x)
        allowed = attention_mask(mask, past, t, ids.device)
        for i, block in enumerate(self.h):
            before = cache[i] if past and cache else None
            if self.checkpointing and self.training:
                assert cache is None, "gradient checkpointing has no use for a cache"
                x, _ = checkpoint(block, x, allowed, None, use_reentrant=False)
            else:
                x, present = block(x, allowed, before)
                if cache is not None:
                    if past:
                        cache[i] = present
                    else:
                        cache.append(present)
        return self.ln_f(x)

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, NDArray[np.generic]]) -> None:
        """Copy checkpoint tensors (named as `ModelConfig.tensor_shapes` does) into the parameters."""
        for name, parameter in self.named_parameters():
            value = torch.from_numpy(np.array(tensors[name], np.float32))
            value = value.T if is_matrix(name) else value
            assert value.shape == parameter.shape, f"{name} is {value.shape}, not {parameter.shape}"
            parameter.copy_(value)

    @torch.no_grad()
    def tensors(self, *, copy: bool = True) -> dict[str, NDArray[np.float32]]:
        """Return the parameters as checkpoint tensors in float32, matrices input × output.

        Args:
            copy: False gives views of float32 parameters in a CPU's memory, to be read before they change.
        """
        found = {
            name: (p.T if is_matrix(name) else p).detach().float().cpu().numpy()
            for name, p in self.named_parameters()
        }
        return {name: np.array(tensor, order="C") for name, tensor in found.items()} if copy else found


def trains_in_bfloat16_on_cpu(x: Tensor) -> bool:
    """Whether `x` is on the path for which torch's own kernels are slow and others are chosen here."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and torch.is_grad_enabled()


def explicit_attention(q: Tensor, k: Tensor, v: Tensor, *, dropout: float = 0.0) -> Tensor:
    """Causal attention of (B, H, T, D) written out: products, softmax, products.

    For training in bfloat16 on a CPU, where torch's fused kernel takes twice as long, backwards.
    """
    b, h, t, d = q.shape
    later = torch.full((t, t), float("-inf"), dtype=q.dtype).triu(1)
    q, k, v = (x.reshape(b * h, t, d) for x in (q, k, v))
    scores = torch.baddbmm(later, q, k.transpose(1, 2), alpha=1 / math.sqrt(d))  # (B·H, T, T)
    weights = F.dropout(scores.softmax(-1), dropout)
    return torch.bmm(weights, v).view(b, h, t, d)


def is_matrix(name: str) -> bool:
    """Whether a parameter is a linear layer's matrix, which checkpoints store transposed."""
    return ".c_" in name and name.endswith(".weight")


def default_positions(mask: Tensor | None, b: int, past: int, t: int, device: torch.device) -> Tensor:
    """Return positions (B, T): real tokens count from 0; padding gets that of the token before."""
    if mask is None:
        return torch.arange(past, past + t, device=device).expand(b, t)
    return (mask.long().cumsum(1) - 1).clamp(min=0)[:, past:]


def attention_mask(mask: Tensor | None, past: int, t: int, device: torch.device) -> Tensor | None:
    """Return (B or 1, 1, T, S), True where a query may look, or None where plain causal attention does.

    Every position may look at itself, so that a row of padding never has an empty softmax.
    """
    if mask is None and (past == 0 or t == 1):
        return None if past == 0 else torch.ones(1, 1, t, past + t, dtype=torch.bool, device=device)
    causal = torch.ones(t, past + t, dtype=torch.bool, device=device).tril(past)
    if mask is None:
        return causal[None, None]
    itself = torch.zeros(t, past + t, dtype=torch.bool, device=device)
    itself[torch.arange(t), torch.arange(past, past + t)] = True
    return (causal & mask[:, None, None, :].bool()) | itself
