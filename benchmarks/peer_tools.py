"""How each of the other tools looks at a script; each function runs in a process of its own and leaves notes."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from handed import CannotUse, Factory, Handed, Handing, Notes, OverTime, Whole, held, optimizers_made
from torch import nn

from trainrecipe.capture import launch
from trainrecipe.capture.launch import Order
from trainrecipe.capture.session import Session
from trainrecipe.capture.tensors import tensors_in
from trainrecipe.subjects.step import RESHAPING

# ---- torchtest2


def torchtest2(order: Order, notes: Notes) -> None:
    observe(order, Handing(order, notes, _torchtest2))


def _torchtest2(handed: Handed, notes: Notes) -> None:
    from torchtest2 import Status, check_model

    _try_out(handed)
    step, twin = handed.step, handed.step.twin()
    model, inputs, outputs = handed.parts(twin)
    wanted = tuple(handed.targets().values())
    report = check_model(
        model,
        inputs,
        (wanted[0] if len(wanted) == 1 else wanted) if wanted else None,
        loss_fn=handed.loss(twin, outputs),
        optimizer=step.optimizer_for(twin),
        batch_dim=_axis(next(tensors_in(inputs), None), handed.sizes),
        output_batch_dim=_axis(step.tape.values[outputs[0]].constant, handed.sizes),
    )
    print(report)
    notes.ran(*(r.name for r in report if r.status in (Status.WARN, Status.FAIL)))


def _try_out(handed: Handed) -> None:
    """Raises where the handed step does not run: that is not the peer's, nor the script's, fault."""
    twin = handed.step.twin()
    model, inputs, outputs = handed.parts(twin)
    wanted = tuple(handed.targets().values())
    handed.loss(twin, outputs)(_call(model, inputs), wanted[0] if len(wanted) == 1 else wanted).backward()
    if isinstance(model, Whole):
        with torch.no_grad():
            _call(model.eval(), inputs)


def _call(model: nn.Module, inputs: Any) -> Any:
    return model(**inputs) if isinstance(inputs, dict) else model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def _axis(tensor: torch.Tensor | None, sizes: frozenset[int]) -> int:
    """The axis that holds the examples: the first, unless only the second is as long as a loader's batches."""
    second = tensor is not None and tensor.ndim > 1 and tensor.shape[0] not in sizes and tensor.shape[1] in sizes
    return int(second)


# ---- neural-net-checklist


def neural_net_checklist(order: Order, notes: Notes) -> None:
    observe(order, Handing(order, notes, _neural_net_checklist))


def _neural_net_checklist(handed: Handed, notes: Notes) -> None:
    from neural_net_checklist import torch_diagnostics as checks

    factory, batch, classes, language = _classifier(handed)
    if language:
        causal = [checks.assert_forward_causal_property, checks.assert_backward_causal_property]
        loss = functools.partial(_token_loss, classes)
    else:
        causal, loss = [], torch.nn.functional.cross_entropy
    at_init, baseline = (
        functools.partial(checks.assert_balanced_classification_cross_entropy_loss_at_init, num_classes=classes, loss_fn=loss),
        functools.partial(checks.assert_input_independent_baseline_worse, loss_fn=loss),
    )
    calibrated = functools.partial(checks.assert_balanced_classification_cross_entropy_init_calibrated, num_classes=classes)
    overfit = functools.partial(checks.assert_overfit_to_batch, loss_fn=loss, **({"threshold": 1e-1} if language else {}))
    _assert(notes, "loss_at_init", lambda: at_init(factory(), batch))
    _assert(notes, "init_calibrated", lambda: calibrated(factory(), batch))
    _assert(notes, "batch_independence", lambda: checks.assert_forward_batch_independence(factory, batch))
    for check in causal:
        _assert(notes, "causal_property", functools.partial(check, factory, batch))
    _assert(notes, "non_zero_gradients", lambda: checks.assert_non_zero_gradients(factory(), batch))
    _assert(notes, "batch_independence", lambda: checks.assert_backward_batch_independence(factory, batch))
    _assert(notes, "input_independent_baseline", lambda: baseline(factory, batch))
    _assert(notes, "overfit_to_batch", lambda: overfit(factory(), batch))


def _assert(notes: Notes, rule: str, check: Callable[[], None]) -> None:
    try:
        check()
        notes.ran()
    except AssertionError as error:
        print(f"{rule}: {error!s:.300}")
        notes.cannot(error) if "Dummy batch only has" in str(error) else notes.ran(rule)
    except Exception as error:
        notes.cannot(error)


def _classifier(handed: Handed) -> tuple[Factory, tuple[torch.Tensor, torch.Tensor], int, bool]:
    """A factory of fresh models, one batch, the number of classes, and whether it is a language model."""
    step = handed.step
    calls = [c for c in step.losses if c.counts and c.name in ("cross_entropy", "nll_loss")]
    if len(calls) != 1 or calls[0].target is None or calls[0].target.is_floating_point():
        raise CannotUse("not a classification with cross-entropy")
    call = calls[0]
    until, target, op = [call.input], call.target, handed.single
    reshaped = itertools.takewhile(lambda back: back.name in RESHAPING, step.back(call.input))
    if op is not None and any(set(back.inputs) & set(op.outputs) for back in reshaped):
        until = list(op.outputs)
    model, inputs, _ = handed.parts(step.twin(), until)
    if not isinstance(inputs, torch.Tensor):
        raise CannotUse("the model does not take one tensor")
    with torch.no_grad():
        out = model(inputs)
    if not isinstance(out, torch.Tensor):
        raise CannotUse("the model does not return one tensor")

    def factory() -> nn.Module:
        return handed.parts(step.twin(), until)[0]

    if out.ndim == 2 and target.shape == out.shape[:1]:
        return factory, (inputs, target), out.shape[1], False
    if out.ndim == 3 and not inputs.is_floating_point() and target.numel() == out[..., 0].numel():
        soft, inputs = _with_soft_tokens(factory, inputs, out.shape[-1])
        return soft, (inputs, target.reshape(out.shape[:2])), out.shape[-1], True
    raise CannotUse("the outputs are not one row of classes for each example or token")


def _with_soft_tokens(factory: Factory, tokens: torch.Tensor, classes: int) -> tuple[Factory, torch.Tensor]:
    """As the peer's own entry point for language models does it: one-hot tokens, and an embedding that takes them."""
    from neural_net_checklist.torch_diagnostics import replace_input_embedding_layer

    layers = [n for n, m in factory().named_modules() if isinstance(m, nn.Embedding) and m.num_embeddings == classes]
    if len(layers) != 1:
        return factory, tokens
    return replace_input_embedding_layer(factory, layers[0]), nn.functional.one_hot(tokens, classes).float()


def _token_loss(classes: int, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(outputs.reshape(-1, classes), targets.reshape(-1))


# ---- torch-audit


def torch_audit(order: Order, notes: Notes) -> None:
    observe(order, Audited(order, notes))


class Audited(Session):
    """Rehearses the script with torch-audit's autopatch on every model that is called while gradients are on."""

    def __init__(self, order: Order, notes: Notes) -> None:
        super().__init__(order)
        self.notes = notes
        self.auditors: list[Any] = []
        self.covered: set[int] = set()

    def _begin(self) -> None:
        self.optimizers = optimizers_made()
        call = nn.Module.__call__

        def __call__(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if id(module) not in self.covered and torch.is_grad_enabled() and not torch.compiler.is_compiling():
                self._audit(module)
            return call(module, *args, **kwargs)

        nn.Module.__call__ = __call__  # type: ignore[method-assign]
        super()._begin()

    def _audit(self, module: nn.Module) -> None:
        from torch_audit import autopatch

        own = {id(p) for p in module.parameters() if p.requires_grad}
        if not own or not self.optimizers:
            return
        self.covered.update(id(m) for m in module.modules())
        self.auditors.append(autopatch(module, optimizer=max(self.optimizers, key=lambda o: held(o, own)), every_n_steps=1))

    def conclude(self, status: str) -> None:
        from torch_audit.core import Severity

        findings = [f for auditor in self.auditors for f in auditor.finish().findings]
        if status == "failed" or not self.auditors:
            self.notes.cannot("the script fails under it" if self.auditors else "no model with an optimiser was called")
            return
        for f in findings:
            print(f.severity.value, f.rule_id, f.module_path, f.message)
        self.notes.ran(*(f.rule_id for f in findings if f.severity > Severity.INFO and f.rule_id != "TA000"))


def observe(order: Order, session: Session) -> None:
    """Run the script under a session, with what it writes going to a scratch folder."""
    with launch._scratch(order):
        session.conclude(launch._run(order, session).status)


# ---- mldoct


def mldoctor_check(order: Order, notes: Notes) -> None:
    from mldoctor.linter import lint_script

    issues, _ = lint_script(order.target)
    notes.ran(*(i["type"] for i in issues if i["severity"] != "INFO"))


def mldoctor_watch(order: Order, notes: Notes) -> None:
    from mldoctor.watchdog import run_watchdog

    shutil.copytree(Path(order.target).parent, "copy")
    os.chdir("copy")
    with contextlib.suppress(OverTime):
        run_watchdog(Path(order.target).name)
    sys.stdout.flush()
    said = Path("../../1").read_text(errors="replace")
    phrases = {"CRITICAL INSTABILITY DETECTED": "nan_inf", "Loss value exploded": "loss_exploded", "VRAM LEAK": "vram_leak"}
    notes.ran(*(rule for phrase, rule in phrases.items() if phrase in said))
