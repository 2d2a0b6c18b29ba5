"""The laws on a GPU: faults are found, healthy programs are silent, weights stay bit-identical. Skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from trainrecipe.finding import Finding, Severity

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

FOLDER = Path(__file__).resolve().parent / "cuda"
EXACT = [  # programs that a GPU repeats bit by bit
    "convnet_amp",
    "transformer_bf16",
    "autoencoder_workers",
    "prefetcher_streams",
    "fused_adamw_accumulation",
    "gan_two_optimizers",
    "dqn_gpu",
    "ddp_single_nccl",
    "cuda_graph_capture",
]
HEALTHY = [*EXACT, "compiled_gpu", "lstm_cudnn", "gnn_atomics", "embedding_bag_sparse"]
FAULTS = [
    ("convnet_amp", "            scaler.unscale_(optimizer)\n", "", "clip-scaled-gradients"),
    ("convnet_amp", "            optimizer.zero_grad(set_to_none=True)\n", "", "missing-zero-grad"),
    (
        "convnet_amp",
        "criterion(net(images), labels)",
        "criterion(net(images).softmax(1), labels)",
        "softmax-before-cross-entropy",
    ),
    ("convnet_amp", "        net.eval()\n", "", "eval-in-train-mode"),
    ("transformer_bf16", "is_causal=True", "is_causal=False", "peeking-ahead"),
    ("transformer_bf16", "    model.train()\n", "", "train-in-eval-mode"),
    ("transformer_bf16", "permute(2, 0, 3, 1, 4)", "permute(2, 1, 3, 0, 4)", "scrambled-axes"),
    ("autoencoder_workers", "mse_loss(restored, images)", "mse_loss(restored.detach().requires_grad_(), images)", "graph-cut"),
    ("lstm_cudnn", "CrossEntropyLoss(ignore_index=PAD)", "CrossEntropyLoss()", "padding-in-loss"),
    ("prefetcher_streams", "mean(dim=(2, 3)))", "mean(dim=(2, 3))).softmax(1)", "softmax-before-cross-entropy"),
    ("prefetcher_streams", "    model.eval()\n", "", "eval-in-train-mode"),
    ("compiled_gpu", "            optimizer.zero_grad()\n", "", "missing-zero-grad"),
    ("compiled_gpu", "self.out(x).squeeze(-1)", "self.out(x)", "broadcast-loss"),
    ("fused_adamw_accumulation", "scaler.scale(loss / window)", "scaler.scale(loss)", "accumulation-unscaled"),
    ("fused_adamw_accumulation", " or i + 1 == len(train_loader)", "", "partial-accumulation-window"),
    (
        "fused_adamw_accumulation",
        "                scaler.step(optimizer)\n                scaler.update()\n                scheduler.step()\n",
        "                scheduler.step()\n                scaler.step(optimizer)\n                scaler.update()\n",
        "scheduler-before-optimizer",
    ),
    ("gnn_atomics", "self.conv2(h, edge_index)", "self.conv2(h, edge_index).softmax(1)", "softmax-before-cross-entropy"),
    ("gan_two_optimizers", "netD(fake), real_label", "netD(fake), fake_label", "adversaries-agree"),
    (
        "dqn_gpu",
        "    if t % SYNC_EVERY == 0:\n        target_net.load_state_dict(q_net.state_dict())\n",
        "",
        "target-network-not-synced",
    ),
    ("ddp_single_nccl", "        sampler.set_epoch(epoch)\n", "", "epoch-order-repeats"),
    ("cuda_graph_capture", "nn.Linear(64, 1)).cuda()", "nn.Linear(64, 1), nn.Sigmoid()).cuda()", "bounded-head"),
    ("embedding_bag_sparse", "                optimizer.zero_grad()\n", "                pass\n", "missing-zero-grad"),
]


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_programs_are_silent_on_a_gpu(ask: Any, name: str) -> None:
    answer = ask(str(FOLDER / f"{name}.py"))
    assert answer["status"] in ("rehearsed", "finished"), answer["errors"]
    found = [Finding.from_json(f) for f in answer["findings"]]
    assert not [(f.check, f.ruling.says) for f in found if f.counts(Severity.WARNING)]


@pytest.mark.parametrize(("name", "old", "new", "suspect"), FAULTS, ids=[f"{n}-{s}" for n, _, _, s in FAULTS])
def test_faults_are_found_on_a_gpu(ask: Any, tmp_path: Path, name: str, old: str, new: str, suspect: str) -> None:
    text = (FOLDER / f"{name}.py").read_text()
    assert old in text
    script = tmp_path / f"{name}.py"
    script.write_text(text.replace(old, new))
    answer = ask(str(script))
    found = [Finding.from_json(f) for f in answer["findings"]]
    first = [g.check for f in found[:2] for g in (f, *f.related)]
    assert suspect in first, (answer["status"], [(f.check, f.ruling.says) for f in found], answer["errors"])


@pytest.mark.parametrize("name", EXACT)
def test_weights_stay_bit_identical_on_a_gpu(ask: Any, name: str) -> None:
    script = str(FOLDER / f"{name}.py")
    bare, seen = ask(script, final=True, observed=False), ask(script, final=True, observed=True)
    assert bare["code"] == seen["code"] == 0
    if seen["weights"] != bare["weights"]:
        again = ask(script, final=True, observed=False, processes=1)  # another request, so that it is run again
        assert again["weights"] == bare["weights"], "the program does not repeat itself even when it is not observed"
    assert seen["weights"] == bare["weights"]
    assert seen["output"] == bare["output"]


def test_trials_of_a_knob_see_losses_on_a_gpu(ask: Any, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import torch\nfrom torch import nn\nHIDDEN = 16\ntorch.manual_seed(0)\nx = torch.randn(256, 6, device='cuda')\n"
        "y = x[:, :1] * x[:, 1:2]\nmodel = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 1)).cuda()\n"
        "optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)\nfor step in range(100):\n    optimizer.zero_grad()\n"
        "    loss = nn.functional.mse_loss(model(x), y)\n    loss.backward()\n    optimizer.step()\n"
    )
    answer = ask(str(script), knob="HIDDEN=4,64", only=["capacity"])
    found = [Finding.from_json(f) for f in answer["findings"]]
    assert [(f.check, f.severity) for f in found] == [("capacity", Severity.WARNING)], answer["errors"]
