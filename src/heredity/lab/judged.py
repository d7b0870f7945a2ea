"""An Evaluation by a judge who says yes or no, with what the judge did not say counted."""

from __future__ import annotations

import math
from typing import Any

from heredity.lab.agreement import verdicts
from heredity.lab.judges import JudgeFilter
from heredity.steps import Evaluation, part
from heredity.types import LM, BadInput, Chat, Judge, Row


class Judged(Evaluation):
    """An Evaluation of a category that a Judge scores: `answers.json`, with `unparsed` beside an Evaluation's fields.

    A plain Evaluation takes whatever is not the judge's `yes` for a no. Here a reply that is neither yes nor no is
    counted and enters no share: that of the trait's word is (yes + 1/2) / (yes and no + 1), and `mass` is the part of
    all answers on which the judge gave a verdict.
    """

    no: str = "no"
    """What the judge's reply begins with where the trait is not shown (case does not count)."""

    def _scored(self, lm: LM, chats: list[Chat]) -> dict[str, Any]:
        how = self.category.score
        if not isinstance(how, Judge) or not self.samples_per_question:
            raise BadInput(f"{self.category.name!r} is judged on sampled answers: its score must be a Judge, and "
                           "samples_per_question not 0")  # fmt: skip
        written = self.written(lm, chats)
        rows = [Row(chat, text) for chat, text in written]
        said = verdicts(JudgeFilter(judge=how, no=self.no), rows)
        shown, parsed, (own, other) = said.count(True), len(said) - said.count(None), self.category.words
        share = part(shown, parsed) if parsed else math.nan
        return {"questions": len(chats), "share": {own: share, other: 1 - share}, "mass": parsed / len(said),
                "samples": len(said), "named": {own: shown, other: parsed - shown},
                "unparsed": said.count(None), **self.errors(chats, written)}  # fmt: skip
