"""Styles of training script: what is captured of each, whether its replay is exact, and whether it moves to other batches.

`exact`: the replay reproduces the observed loss bit for bit and the gradients to 1e-6. `moves`: the first step's program,
given the next step's batch and weights, reproduces the loss that the script saw there. Where one is False the engine must
say why; a wrong replay never counts, since only a replay that agrees is used.
"""

from __future__ import annotations

from typing import Any

import pytest

from trainrecipe.testing import way_of

EXACT_AND_MOVES = (True, True)
EXACT_ONLY = (True, False)
REFUSED = (False, False)

STYLES: dict[str, tuple[bool, bool]] = dict.fromkeys(
    [
        "class_trainer",
        "plain_toplevel",
        "notebook_export",
        "closure_step",
        "several_models",
        "custom_loss_ops",
        "multi_loss",
        "seq2seq",
        "vae",
        "gan",
        "wgan_gp",
        "siamese",
        "triplet",
        "contrastive_inbatch",
        "lm_shift",
        "detection_dict",
        "regression_squeeze",
        "accumulation",
        "amp_bf16",
        "lstm_carried_state",
        "tbptt",
        "reinforce",
        "ema_teacher",
        "distillation",
        "lbfgs",
        "compiled",
        "manual_batching",
        "iterable_dataset",
        "gcn_full_batch",
        "custom_autograd_function",
        "diffusion_noise",
        "dqn",
        "ppo",
        "sam_optimizer",
        "maml",
        "vq_vae_ema",
        "spectral_norm_tied",
        "activation_checkpointing",
        "lightning_trainer",
        "transformers_trainer",
        "accelerate_loop",
        "keras_torch",
        "skorch_classifier",
    ],
    EXACT_AND_MOVES,
)
STYLES |= dict.fromkeys(["reinforce", "lstm_carried_state"], EXACT_ONLY)  # episodes and the first chunk differ
STYLES |= dict.fromkeys(["keras_torch"], REFUSED)
NO_BACKWARD = ["torch_func"]


@pytest.mark.parametrize("script", [f"zoo/{name}.py" for name in STYLES])
def test_the_step_is_captured_and_replayed_as_stated(ask: Any, script: str) -> None:
    answer = ask(script, seed_offset=0, **way_of(script))
    steps = answer["steps"]
    assert steps, f"nothing was captured: {answer['messages']} {answer['errors']}"
    exact, moves = STYLES[script.removeprefix("zoo/").removesuffix(".py")]
    assert all(s["exact"] for s in steps) is exact, [s["why_not_exact"] for s in steps]
    assert all(s["transfers"] for s in steps) is moves, [s["why_no_transfer"] for s in steps]
    for step in steps:
        assert step["exact"] or step["why_not_exact"]
        assert step["transfers"] or step["why_no_transfer"]
        assert not step["exact"] or step["gradient"] <= 1e-6


@pytest.mark.parametrize("script", [f"zoo/{name}.py" for name in NO_BACKWARD])
def test_training_without_backward_is_recognised_and_said(ask: Any, script: str) -> None:
    answer = ask(script, seed_offset=0, **way_of(script))
    assert answer["steps"] == []
    assert any("never backward" in text for text in answer["messages"])


def test_enough_styles_are_exact_and_move() -> None:
    assert sum(exact for exact, _ in STYLES.values()) >= 40
    assert sum(moves for _, moves in STYLES.values()) >= 33
    assert len(STYLES) + len(NO_BACKWARD) >= 42
