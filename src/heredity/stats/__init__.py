"""Numbers that leave the laboratory: estimates with an interval, tests with the least p they could give, and a reason
where there is neither. docs/statistics.md says which function answers which question, and how well each one holds.

Values come nested as they were made (bases, their teacher seeds, their student seeds) with the names of the levels;
everything below the top level is averaged, and only the top level is counted.
"""

from __future__ import annotations

from heredity.stats.agreement import kappa
from heredity.stats.betting import EProcess, Evidence, bet
from heredity.stats.families import Family, closed_testing, holm, hommel
from heredity.stats.intervals import mean_bootstrap, mean_difference, mean_t, paired_log_odds, ratio, wilson
from heredity.stats.matrix import Dropped, LeaveOneOut, leave_one_out, transfer, transfer_test
from heredity.stats.nouns import ALPHA, LEVEL, Alternative, Estimate, Test, log_odds
from heredity.stats.pooled import Pooled, pooled_t
from heredity.stats.power import (
    Power,
    detection_limit,
    observed_limit,
    paired_power,
    units_needed,
    would_have_seen,
)
from heredity.stats.significance import clustered_t, paired_t, permutation, sign_flip
from heredity.stats.units import Unit, Values

__all__ = [
    "ALPHA", "LEVEL", "Alternative", "Dropped", "EProcess", "Estimate", "Evidence", "Family", "LeaveOneOut", "Pooled",
    "Power", "Test", "Unit", "Values", "bet", "closed_testing", "clustered_t", "detection_limit", "holm", "hommel",
    "kappa", "leave_one_out", "log_odds", "mean_bootstrap", "mean_difference", "mean_t", "observed_limit",
    "paired_log_odds", "paired_power", "paired_t", "permutation", "pooled_t", "ratio", "sign_flip", "transfer",
    "transfer_test", "units_needed", "wilson", "would_have_seen",
]  # fmt: skip
