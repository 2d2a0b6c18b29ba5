"""Checks of checkpoints: weights that are kept, loaded, saved and read back, each on a real training."""

from __future__ import annotations

import importlib.util
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

from trainrecipe.capture import subjects, unused
from trainrecipe.capture.listen.listener import Listener
from trainrecipe.capture.rehearsal import Rehearsal, RehearsalOver
from trainrecipe.capture.where import add_user_root
from trainrecipe.checks.run.best_weights_by_reference import BestWeightsByReference
from trainrecipe.checks.run.best_weights_never_restored import BestWeightsNeverRestored
from trainrecipe.checks.run.checkpoint_incomplete import CheckpointIncomplete
from trainrecipe.checks.run.loads_nothing import LoadsNothing
from trainrecipe.checks.run.saves_wrong_object import SavesWrongObject
from trainrecipe.checks.run.settings_lost_at_reload import SettingsLostAtReload
from trainrecipe.exam import examine
from trainrecipe.subjects.run import Run

BEGIN = """
import copy, os
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

X = torch.randn(160, 6, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0] > 0).long()
train_loader = DataLoader(TensorDataset(X[:96], Y[:96]), 16, shuffle=True)
valid_loader = DataLoader(TensorDataset(X[96:128], Y[96:128]), 32)
test_loader = DataLoader(TensorDataset(X[128:], Y[128:]), 32)

def net():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))

def epoch(model, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

def score(model, loader):
    with torch.no_grad():
        return sum((model(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)

model = net()
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
"""


def run_script(folder: Path, body: str, monkeypatch: Any, rehearse: bool = False) -> Run:
    """The run of a script, whole or rehearsed, in a folder of its own."""
    path = folder / f"script{len(list(folder.glob('*.py')))}.py"
    path.write_text(BEGIN + textwrap.dedent(body))
    add_user_root(str(folder))
    monkeypatch.setattr(unused, "HARNESS", set(sys.modules))  # other tests are no part of the program
    monkeypatch.chdir(folder)
    torch.manual_seed(0)
    listener = Listener(detail_always=True)
    if rehearse:
        rehearsal = Rehearsal(listener.run, seconds=600.0)  # however slow the machine is
        listener.on_event, listener.limit_batches = rehearsal.event, rehearsal.cut
        listener.run.rehearsal = True
    listener.install()
    listener.run.ended = "finished"
    try:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except RehearsalOver:
        listener.run.ended = "rehearsed"
    finally:
        listener.remove()
    listener.fill_plan()
    subjects.fill_parameters(listener)
    assert not listener.trouble, listener.trouble
    return listener.run


def severity(check: Any, run: Run) -> str | None:
    examination = examine(run, checks=[check])
    assert not any("itself failed" in f.ruling.says for f in examination.answers), examination.answers
    found = [f.severity for f in examination.findings if f.severity]
    return min(found, key=lambda s: s.rank).value if found else None


BEST = """
best, kept = -1.0, None
for number in range(4):
    epoch(model, optimizer)
    accuracy = score(model, valid_loader) + (0.5 if number == 1 else 0.0)
    if accuracy > best:
        best = accuracy
        {keep}
{restore}
print(score({tested}, test_loader))
"""

KEPT = [
    ("kept = model.state_dict()", "model.load_state_dict(kept)", "error", "warning"),
    ("kept = {k: v.cpu() for k, v in model.state_dict().items()}", "model.load_state_dict(kept)", "error", "warning"),
    ("kept = {'w': model.state_dict(), 'n': number}", "model.load_state_dict(kept['w'])", "error", "warning"),
    ("kept = model.state_dict()", "torch.save(kept, 'best.pt')", "warning", "warning"),
    ("kept = {k: v.detach() for k, v in model.state_dict().items()}", "model.load_state_dict(kept)", "error", "warning"),
    ("kept = copy.deepcopy(model.state_dict())", "model.load_state_dict(kept)", None, None),
    ("kept = {k: v.clone() for k, v in model.state_dict().items()}", "model.load_state_dict(kept)", None, None),
    ("torch.save(model.state_dict(), 'b.pt')", "model.load_state_dict(torch.load('b.pt'))", None, None),
    (
        "kept = {'w': model.state_dict()}; torch.save(kept, 'b.pt')",
        "model.load_state_dict(torch.load('b.pt')['w'])",
        None,
        None,
    ),
]


@pytest.mark.parametrize(("keep", "restore", "whole", "rehearsed"), KEPT)
def test_weights_kept_by_reference(
    tmp_path: Path, monkeypatch: Any, keep: str, restore: str, whole: str | None, rehearsed: str | None
) -> None:
    body = BEST.format(keep=keep, restore=restore, tested="model")
    assert severity(BestWeightsByReference(), run_script(tmp_path, body, monkeypatch)) == whole
    assert severity(BestWeightsByReference(), run_script(tmp_path, body, monkeypatch, rehearse=True)) == rehearsed


def test_a_second_name_for_the_model_is_found_and_a_copy_is_not(tmp_path: Path, monkeypatch: Any) -> None:
    for keep, expected in (("kept = model", "warning"), ("kept = copy.deepcopy(model)", None)):
        body = BEST.format(keep=keep, restore="", tested="kept")
        assert severity(BestWeightsByReference(), run_script(tmp_path, body, monkeypatch, rehearse=True)) == expected


def test_target_networks_and_averages_are_not_reported(tmp_path: Path, monkeypatch: Any) -> None:
    body = """
    target, live = net(), model.state_dict()
    for number in range(3):
        target.load_state_dict(model.state_dict())
        epoch(model, optimizer)
        target.load_state_dict(live)
        print(score(target, valid_loader))
    """
    assert severity(BestWeightsByReference(), run_script(tmp_path, body, monkeypatch)) is None


def test_best_weights_that_are_never_loaded_are_noted(tmp_path: Path, monkeypatch: Any) -> None:
    check = BestWeightsNeverRestored()
    keep = "kept = copy.deepcopy(model.state_dict())"
    never = BEST.format(keep=keep, restore="", tested="model")
    restored = BEST.format(keep=keep, restore="model.load_state_dict(kept)", tested="model")
    assert severity(check, run_script(tmp_path, never, monkeypatch)) == "note"
    assert severity(check, run_script(tmp_path, restored, monkeypatch)) is None


LOADS = [
    ("model.load_state_dict({'module.' + k: v for k, v in net().state_dict().items()}, strict=False)", "error"),
    ("model.load_state_dict({k[2:]: v for k, v in net().state_dict().items()}, strict=False)", "error"),
    ("model.load_state_dict({}, strict=False)", None),
    ("model.load_state_dict({'2.bias': torch.zeros(2)}, strict=False)", None),
    ("model.load_state_dict({**net().state_dict(), 'head.bias': torch.zeros(3)}, strict=False)", None),
    ("model.load_state_dict(net().state_dict())", None),
    ("model.load_state_dict(model.state_dict())", None),
    (
        "torch.save({'net.' + k: v for k, v in net().state_dict().items()}, 'p.pt'); own = model.state_dict(); "
        "own.update({k: v for k, v in torch.load('p.pt').items() if k in own}); model.load_state_dict(own)",
        "error",
    ),
    (
        "torch.save(net().state_dict(), 'p.pt'); own = model.state_dict(); "
        "own.update({k: v for k, v in torch.load('p.pt').items() if k in own}); model.load_state_dict(own)",
        None,
    ),
]


@pytest.mark.parametrize(("load", "expected"), LOADS)
def test_loads_that_load_nothing(tmp_path: Path, monkeypatch: Any, load: str, expected: str | None) -> None:
    assert severity(LoadsNothing(), run_script(tmp_path, f"{load}\nepoch(model, optimizer)\n", monkeypatch)) == expected


def test_saving_a_method_is_found(tmp_path: Path, monkeypatch: Any) -> None:
    check = SavesWrongObject()
    for what, expected in (("model.state_dict", "error"), ("{'m': model.state_dict}", "error"), ("model.state_dict()", None)):
        body = f"epoch(model, optimizer)\ntorch.save({what}, 'x.pt')\n"
        assert severity(check, run_script(tmp_path, body, monkeypatch)) == expected
    assert severity(check, run_script(tmp_path, "epoch(model, optimizer)\ntorch.save(model, 'x.pt')\n", monkeypatch)) is None


RESUME = """
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
start = 0
if os.path.exists("c.pt"):
    state = torch.load("c.pt")
    model.load_state_dict(state["model"])
    {restore}
    start = state["epoch"] + 1
for number in range(start, 3):
    epoch(model, optimizer)
    scheduler.step()
    print(score(model, valid_loader))
    torch.save({saved}, "c.pt")
"""
ALL = "{'model': model.state_dict(), 'o': optimizer.state_dict(), 's': scheduler.state_dict(), 'epoch': number}"
RESUMES = [
    ("pass", ALL, "warning"),
    ("pass", "{'model': model.state_dict(), 'epoch': number}", "warning"),
    ("optimizer.load_state_dict(state['o'])", ALL, "warning"),
    ("optimizer.load_state_dict(state['o']); scheduler.load_state_dict(state['s'])", ALL, None),
]


@pytest.mark.parametrize(("restore", "saved", "expected"), RESUMES)
def test_resuming(tmp_path: Path, monkeypatch: Any, restore: str, saved: str, expected: str | None) -> None:
    body = RESUME.format(restore=restore, saved=saved)
    assert severity(CheckpointIncomplete(), run_script(tmp_path, body, monkeypatch)) == expected


def test_loading_for_a_test_or_a_fine_tuning_is_not_resuming(tmp_path: Path, monkeypatch: Any) -> None:
    check = CheckpointIncomplete()
    test = """
for number in range(2):
    epoch(model, optimizer)
    torch.save({'model': model.state_dict(), 'o': optimizer.state_dict(), 'epoch': number}, 'b.pt')
state = torch.load('b.pt')
model.load_state_dict(state['model'])
print(state['epoch'], score(model, test_loader))
"""
    tune = test + "optimizer = torch.optim.Adam(model.parameters(), 1e-3)\nepoch(model, optimizer)\n"
    for body in (test, tune):
        assert severity(check, run_script(tmp_path, body, monkeypatch)) is None


# ---- settings-lost-at-reload

BUILT_AGAIN = """
class Model(nn.Module):
    def __init__(self, activation="relu", drop=0.1, scale=1.0):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 2)
        self.drop = nn.Dropout(drop)
        self.activation, self.scale = getattr(torch, activation), scale

    def forward(self, x):
        return self.last(self.drop(self.activation(self.first(x)))) * self.scale

model = Model({trained})
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
epoch(model, optimizer)
again = Model({built})
again.load_state_dict(model.state_dict())
again.eval()
print(score(again, test_loader))
"""


@pytest.mark.parametrize(
    ("trained", "built", "expected"),
    [
        ("'tanh'", "", "warning"),
        ("'tanh'", "'sigmoid'", "note"),
        ("scale=0.25", "", "warning"),
        ("drop=0.5", "", None),
        ("'tanh', scale=0.5", "'tanh', scale=0.5", None),
    ],
)
def test_a_model_that_is_built_again_computes_the_same(
    trained: str, built: str, expected: str | None, tmp_path: Path, monkeypatch: Any
) -> None:
    body = BUILT_AGAIN.replace("{trained}", trained).replace("{built}", built)
    assert severity(SettingsLostAtReload(), run_script(tmp_path, body, monkeypatch)) == expected


@pytest.mark.parametrize(("built", "expected"), [("", "note"), ("'tanh'", None)])
def test_a_model_that_is_trained_further_is_noted(tmp_path: Path, monkeypatch: Any, built: str, expected: str | None) -> None:
    more = "epoch(again, torch.optim.Adam(again.parameters(), 1e-3))"
    body = BUILT_AGAIN.replace("{trained}", "'tanh'").replace("{built}", built) + more
    assert severity(SettingsLostAtReload(), run_script(tmp_path, body, monkeypatch)) == expected


def test_best_weights_that_nothing_reads_are_noted_in_a_rehearsal(tmp_path: Path, monkeypatch: Any) -> None:
    body = BEST.format(keep="lowest = copy.deepcopy(model.state_dict())", restore="", tested="model")
    check = BestWeightsNeverRestored()
    assert severity(check, run_script(tmp_path, body, monkeypatch, rehearse=True)) == "note"
    used = BEST.format(keep="lowest = copy.deepcopy(model.state_dict())", restore="print(len(lowest))", tested="model")
    assert severity(check, run_script(tmp_path, used, monkeypatch, rehearse=True)) is None
