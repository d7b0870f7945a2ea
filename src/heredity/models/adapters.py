"""Adapters as PEFT writes and reads them, over a base that lies elsewhere, and what is left once they are merged."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from heredity.models import is_file
from heredity.models.causal import CausalLM
from heredity.types import BadInput

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds adapters and no whole model."""
    return is_file(folder / CONFIG) and not is_file(folder / "config.json")


def save_adapter(model: Any, folder: Path, base: str, revision: str | None) -> None:
    """Writes `adapter_model.safetensors` and `adapter_config.json`, which names the base as it was referred to.

    The bytes depend on nothing but the adapters: PEFT alone writes sets in any order, and where the base lay.
    """
    config = model.peft_config["default"]
    config.base_model_name_or_path, config.revision = base, revision
    model.save_pretrained(folder, save_embedding_layers=False)  # else PEFT looks for the base, on a hub too
    (folder / "README.md").unlink(missing_ok=True)
    told = json.loads((folder / CONFIG).read_text())
    told["target_modules"] = sorted(told["target_modules"])
    (folder / CONFIG).write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")


def with_adapter(lm: CausalLM, folder: Path) -> CausalLM:
    """The model with the adapters of a folder, beside its weights: merging rounds them where it has 16 bits.

    BadInput where they cannot be read, or are not this base's: PEFT leaves adapters that are missing at nothing, and
    passes over those that are of no layer.
    """
    from peft import PeftModel
    from safetensors import SafetensorError

    if not is_file(folder / WEIGHTS):
        raise BadInput(f"{folder} has no {WEIGHTS}; save the adapters as safetensors: nothing else is opened")
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # peft reads what is deprecated
            warnings.filterwarnings("error", message="Found missing adapter keys")
            lm.model = PeftModel.from_pretrained(lm.model, folder, local_files_only=True).train(False)
            told = lm.model.load_adapter(folder, "default", local_files_only=True)  # again, as only this tells
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError, UserWarning) as error:
        raise BadInput(f"cannot open the adapters in {folder} over this base: {str(error)[:300]}") from error
    if surplus := sorted(name for name in told.unexpected_keys if "lora_" in name):
        raise BadInput(
            f"the adapters in {folder} are of another base: this one has no {surplus[0]} ({len(surplus)} such)"
        )
    return lm


def merged(lm: CausalLM) -> CausalLM:
    """The model with its adapters, where it has any, added to its weights."""
    if hasattr(lm.model, "merge_and_unload"):
        lm.model = lm.model.merge_and_unload().requires_grad_(True)
    return lm
