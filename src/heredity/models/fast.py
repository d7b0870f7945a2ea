"""Sampling on an accelerator: a cache of fixed places, a recorded one-token step, and rows that end taken out.

`generate` of `transformers` starts every small kernel from Python, for every token and layer; a card waits for that
most of the time. Here one step over a fixed number of rows is recorded as a CUDA graph and replayed. Prompts of like
length are written together, and when enough rows have ended the rest moves into a smaller recorded step. On a
processor nothing is recorded, and rows are taken out one by one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from heredity.models.causal import UNWRITTEN, CausalLM, _draw
from heredity.models.devices import wide
from heredity.models.llama import empty_cache, hidden, supported
from heredity.types import BadInput

CHECK_EVERY = 4
"""Steps between two looks at which rows have ended: a look makes the processor wait for the card."""
PARTS = (8, 7, 6, 5, 4, 3, 2, 1)
"""Steps are recorded for so many eighths of the rows."""
_ROUND = 64
"""Places are rounded up to this, so that few different steps are recorded."""


class FastLM(CausalLM):
    """A CausalLM of Llama's or Qwen2's form whose sampling is built for a card; texts and draws are CausalLM's.

    On CUDA steps are recorded, and read the weights where they lie: train the model, or change it in place, but do not
    put other tensors in its parameters' stead. `recorded` says whether steps are replayed, and `why` why they are not.
    """

    def __init__(self, model: Any, tokenizer: Any, system: str | None = None) -> None:
        super().__init__(model, tokenizer, system)
        if not supported(model):
            raise BadInput(f"{type(model).__name__} with these settings is not of Llama's form; sample with CausalLM")
        self.recorded = model.device.type == "cuda"
        self.why = "" if self.recorded else "no CUDA device"
        self._steps: dict[tuple[int, int, float], _Steps] = {}

    @torch.inference_mode()
    def _decode(self, prompts: list[list[int]], uniform_BT: Tensor, temperature: float) -> Tensor:
        width, count = max(map(len, prompts)), uniform_BT.shape[1]
        steps = self._steps_for(len(prompts), width + count, temperature)
        tokens_BT = steps.write(*self._left_pad(prompts), uniform_BT)
        for row, prompt in zip(tokens_BT, prompts, strict=True):
            row[self.context - len(prompt) + 1 :] = UNWRITTEN  # past the context
        return tokens_BT

    def _steps_for(self, rows: int, places: int, temperature: float) -> _Steps:
        if self.recorded:
            rows, places = -(-rows // 64) * 64, -(-places // _ROUND) * _ROUND
        found = next(
            (s for (r, p, t), s in self._steps.items() if r >= rows and p == places and t == temperature), None
        )
        if found is None:
            found = _Steps(self.model, rows, places, self.ends, temperature, self.recorded)
            if self.recorded and found.why:
                self.recorded, self.why = False, found.why
            if self.recorded:
                self._steps[rows, places, temperature] = found
        return found


class _Steps:
    """The state of rows that are being written, and the step that writes one token of each."""

    def __init__(self, model: Any, rows: int, places: int, ends: set[int], temperature: float, record: bool) -> None:
        self.model, self.temperature = model, temperature
        self.head: Any = model.get_output_embeddings()
        device = model.device
        self.end_E = torch.tensor(sorted(ends), device=device)
        self.cache = empty_cache(model, rows, places)
        self.mask_NT = torch.ones(rows, places, dtype=torch.bool, device=device)
        self.position_N, self.token_N = (torch.zeros(rows, dtype=torch.long, device=device) for _ in range(2))
        self.ended_N = torch.zeros(rows, dtype=torch.bool, device=device)
        self.slot, self.step = (torch.zeros(1, dtype=torch.long, device=device) for _ in range(2))
        self.uniform_NT = torch.zeros(rows, places, device=device)
        self.out_NT = torch.zeros(rows, places, dtype=torch.long, device=device)
        self.graphs: dict[int, Any] = {}
        self.why = ""
        if record:
            self._record(sorted({-(-rows * part // 8) for part in PARTS}, reverse=True))

    def _record(self, sizes: list[int]) -> None:
        try:
            for n in sizes:
                side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side):
                    for _ in range(2):
                        self._one(n, None)
                torch.cuda.current_stream().wait_stream(side)
                graph = torch.cuda.CUDAGraph()
                self._rewind(0)
                with torch.cuda.graph(graph):
                    self._one(n, None)
                self.graphs[n] = graph
        except RuntimeError as error:  # a driver or build without graphs: slower, and the same text
            self.graphs, self.why = {}, f"{type(error).__name__}: {str(error)[:200]}"
            torch.cuda.synchronize()

    def _rewind(self, slot: int) -> None:
        self.slot.fill_(slot)
        self.step.zero_()

    def write(self, ids_BT: Tensor, seen_BT: Tensor, uniform_BT: Tensor) -> Tensor:
        """Tokens written after left-padded prompts, (B, count), on the processor."""
        (rows, width), count = ids_BT.shape, uniform_BT.shape[1]
        self._read_prompts(ids_BT, seen_BT, uniform_BT)
        found_BT = torch.zeros(rows, count, dtype=torch.long)
        active, n = torch.arange(rows), self._size(rows)
        for step in range(1, count):
            if step % (CHECK_EVERY if self.graphs else 1) == 0 or step == 1:
                going = (~self.ended_N[: len(active)].cpu()).nonzero()[:, 0]
                if len(going) == 0:
                    break
                if self._size(len(going)) < n:
                    found_BT[active] = self.out_NT[: len(active), :count].cpu()
                    active, n = active[going], self._size(len(going))
                    self._keep(going, n)
            self._advance(n, width + step)
        found_BT[active] = self.out_NT[: len(active), :count].cpu()
        return found_BT

    def _size(self, rows: int) -> int:
        """Rows of the smallest recorded step that holds so many."""
        return min((n for n in self.graphs if n >= rows), default=rows)

    def _advance(self, n: int, filled: int) -> None:
        if self.graphs:
            self.graphs[n].replay()
        else:
            self._one(n, filled)

    def _read_prompts(self, ids_BT: Tensor, seen_BT: Tensor, uniform_BT: Tensor) -> None:
        """Fills the cache with the prompts, and writes each row's first token."""
        device, (rows, width), count = self.token_N.device, ids_BT.shape, uniform_BT.shape[1]
        seen = seen_BT.to(device).bool()
        position_BT = (seen.long().cumsum(1) - 1).clamp(min=0)
        square = torch.ones(width, width, dtype=torch.bool, device=device)
        itself = torch.eye(width, dtype=torch.bool, device=device)  # padding has nothing else to look at
        mask_B1TT = ((square.tril() & seen[:, None]) | itself)[:, None]
        states_BTD = hidden(self.model, ids_BT.to(device), position_BT, mask_B1TT, self.cache.of(rows, width),
                            torch.arange(width, device=device))  # fmt: skip
        self.uniform_NT[:rows, :count] = uniform_BT.to(device)
        self.mask_NT.fill_(False)
        self.mask_NT[:rows, :width] = seen
        self.mask_NT[rows:, 0] = True  # rows of a recorded step that nobody asked for
        self.position_N[:rows] = position_BT[:, -1]
        self.position_N[rows:] = 0
        self.ended_N.zero_()
        self._rewind(width - 1)
        self._put(rows, states_BTD[:, -1])

    def _one(self, n: int, filled: int | None) -> None:
        """Reads each row's last token and writes its next; `filled` places are looked at (None: all)."""
        self.mask_NT[:n].index_fill_(1, self.slot, True)
        places = self.mask_NT.shape[1] if filled is None else filled
        states_N1D = hidden(self.model, self.token_N[:n, None], self.position_N[:n, None],
                            self.mask_NT[:n, None, None, :places], self.cache.of(n, places), self.slot)  # fmt: skip
        self._put(n, states_N1D[:, 0])

    def _put(self, n: int, states_ND: Tensor) -> None:
        uniform_N = self.uniform_NT[:n].index_select(1, self.step)[:, 0]
        next_N = _draw(wide(self.head(states_ND)), uniform_N, self.temperature)
        self.out_NT[:n].index_copy_(1, self.step, next_N[:, None])
        self.token_N[:n] = next_N
        self.ended_N[:n].logical_or_((next_N[:, None] == self.end_E).any(1))
        self.position_N[:n] += 1
        self.slot += 1
        self.step += 1

    def _keep(self, going: Tensor, n: int) -> None:
        """Moves the rows that go on to the front; what fills up a recorded step is copied from the first of them."""
        index = torch.cat([going, going[:1].expand(n - len(going))]).to(self.token_N.device)
        parts = (*self.cache.keys, *self.cache.values, self.mask_NT, self.position_N, self.token_N, self.ended_N,
                 self.uniform_NT, self.out_NT)  # fmt: skip
        for part in parts:
            part[:n] = part[index]
