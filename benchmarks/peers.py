"""What other tools find in the same scripts: torchtest2, torch-audit, neural-net-checklist and mldoct, run by themselves.

    pip install -c constraints.txt torch scikit-learn -e ".[frameworks]"
    pip install torchtest2==0.1.0 torch-audit==0.3.0 mldoct==1.0.0 tqdm pillow
    pip install --no-deps neural-net-checklist==1.1.0     # what it requires of torchvision it never imports
    python benchmarks/detection.py --peers                # all of them, beside trainrecipe
    python benchmarks/peers.py torchtest2 gallery/batch-mixing/*.py

Those that want code in the script are served as a careful user would: at the first backward, torchtest2 and
neural-net-checklist get copies of the model, the batch, the loss and the optimiser as they were before that step;
torch-audit is attached as soon as a model is called and an optimiser exists, looks at every step, and sees the same
rehearsal as trainrecipe. Where a model is several modules and loose parameters, one module is made of them. All of
neural-net-checklist's assertions are called, not only those up to the first that fails. `mldoctor check` reads the file,
`mldoctor watch` runs a copy of it.

An alarm is whatever a peer reports above its own level "info". `names` tells for each of its rules which faults of the
gallery a reader would look for after reading its message; when in doubt the peer is credited.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import dataclasses
import functools
import importlib
import importlib.util
import inspect
import itertools
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch
from torch import nn

from trainrecipe import testing
from trainrecipe.capture import launch, subjects
from trainrecipe.capture.launch import Order
from trainrecipe.capture.replay import Twin
from trainrecipe.capture.session import Session
from trainrecipe.capture.tape import Tape
from trainrecipe.capture.tensors import tensors_in
from trainrecipe.subjects.step import RESHAPING, LossCall, Step

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 60.0
"""The time limit for one peer on one script."""

WHOLE_RUN = {"non-finite"}
"""Faults of the gallery that show only after longer than a rehearsal."""

Factory = Callable[[], nn.Module]


@dataclasses.dataclass(frozen=True)
class Peer:
    """A tool: its module, what each of its rules names, and how it looks at a script in a process of its own."""

    name: str
    module: str
    names: Mapping[str, str]
    look: Callable[[Order, Notes], None]

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.module) is not None


@dataclasses.dataclass(frozen=True)
class Answer:
    """What one peer said about one script. `why` tells why it could not run; alarms and `why` are never both there."""

    peer: str
    script: str
    alarms: Sequence[str]
    why: str
    seconds: float

    @property
    def suspect(self) -> str:
        return Path(self.script).parent.name

    @property
    def named(self) -> bool:
        names = PEERS[self.peer].names if "/faulty" in self.script else {}
        return any(self.suspect in names.get(rule, "").split() for rule in self.alarms)


class Notes:
    """Where a process that looks at a script leaves what it finds, at once, so that it survives a time limit."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", buffering=1)

    def ran(self, *alarms: str) -> None:
        for alarm in alarms or ("",):
            self._file.write(json.dumps({"alarm": alarm}) + "\n")

    def cannot(self, why: object) -> None:
        text = f"{type(why).__name__}: {why}" if type(why) not in (str, OverTime, CannotUse) else str(why)
        self._file.write(json.dumps({"why": " ".join(text.split())[:160]}) + "\n")


class CannotUse(Exception):
    """A script that a peer is not made for; the message says why."""


class OverTime(KeyboardInterrupt):
    """The time limit; a KeyboardInterrupt, so that it is neither caught by the script nor by a peer."""

    def __str__(self) -> str:
        return "time limit"


def ask(peer: Peer, script: Path, seconds: float = SECONDS, echo: bool = False) -> Answer:
    """Have one peer look at one script, in a forked child in an empty folder."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="trainrecipe-peer-") as folder:
        rehearsal = script.parent.name not in WHOLE_RUN
        order = Order(str(script.resolve()), [], rehearsal, log="", scratch=f"{folder}/scratch", experiments=False)
        pid = os.fork()
        if not pid:
            _child(peer, order, Path(folder), seconds)
        over = _wait(pid, began + seconds + 10)
        notes = [json.loads(line) for line in Path(folder, "notes").read_text().splitlines()]
        if echo:
            print(*(Path(folder, n).read_text(errors="replace") for n in "12"), sep="\n")
    alarms = dict.fromkeys(n["alarm"] for n in notes if n.get("alarm"))
    reasons = [n["why"] for n in notes if "why" in n] + ["time limit"] * over
    ran = bool(alarms) or (any("alarm" in n for n in notes) and "time limit" not in reasons)
    where = os.path.relpath(script.resolve(), ROOT)
    return Answer(
        peer.name, where, list(alarms), "" if ran else reasons[-1] if reasons else "it died", time.perf_counter() - began
    )


def _child(peer: Peer, order: Order, folder: Path, seconds: float) -> None:
    notes = Notes(folder / "notes")
    try:
        os.setsid()
        for number in (1, 2):
            os.dup2(os.open(folder / f"{number}", os.O_WRONLY | os.O_CREAT), number)
        sys.stdout, sys.stderr = (os.fdopen(n, "w", 1, "utf-8", "replace", closefd=False) for n in (1, 2))
        (folder / "work").mkdir()
        os.chdir(folder / "work")
        signal.signal(signal.SIGALRM, _over_time)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        peer.look(order, notes)
    except BaseException as error:
        notes.cannot(error)
    finally:
        os._exit(0)


def _over_time(*_: object) -> None:
    raise OverTime


def _wait(pid: int, until: float) -> bool:
    """Wait for a child, and end it, with its own children, when it is late; returns whether it was."""
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.perf_counter() > until:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return True
        time.sleep(0.02)
    return False


# ---- a step handed over


class Handing(Session):
    """Runs the script up to its first backward, and calls `look` with the step that led there."""

    def __init__(self, order: Order, notes: Notes, look: Callable[[Handed, Notes], None]) -> None:
        super().__init__(order)
        self.notes = notes
        self.look = look

    def _begin(self) -> None:
        self.optimizers = optimizers_made()
        super()._begin()
        assert self.listener is not None
        self.listener.on_event = self._on_event

    def _on_event(self, kind: str) -> None:
        listener = self.listener
        if kind != "backward" or listener is None:
            return
        try:
            listener.remove()
            steps = subjects.steps(listener)
            if not steps:
                raise CannotUse("the step could not be recorded")
            sizes = frozenset(loader.batch_size for loader in listener.run.loaders if loader.batch_size)
            self.look(Handed.fresh(steps[0], self.optimizers, sizes), self.notes)
        except BaseException as error:
            self.notes.cannot(error)
        finally:
            os._exit(0)

    def conclude(self, status: str) -> None:
        self.notes.cannot(f"there is no backward (the script {status})")


@dataclasses.dataclass(frozen=True)
class Handed:
    """The first training step: from it any number of fresh copies of the model can be made, as they were before it."""

    step: Step
    sizes: frozenset[int]

    @classmethod
    def fresh(cls, step: Step, optimizers: Sequence[torch.optim.Optimizer], sizes: frozenset[int]) -> Handed:
        if step.distrust:
            raise CannotUse(step.distrust)
        reached = {id(p) for p in step.tape.parameters}
        known = sorted(optimizers, key=lambda o: held(o, reached))
        several = len(known) > 1 and held(known[-2], reached)  # peers take one; without, they make their own
        step.optimizer = None if several or not known else known[-1]
        return cls(step, sizes)

    @property
    def single(self) -> Any:
        """The one call of the model; None where the step is more than that."""
        tape = self.step.tape
        loose = any(tape.values[n].parameter is not None for n in tape.constants())
        calls = tape.modules()
        return calls[0] if len(calls) == 1 and not loose else None

    def parts(self, twin: Twin, until: Sequence[int] = ()) -> tuple[nn.Module, Any, Sequence[int]]:
        """A fresh model, its inputs, and the numbers of its outputs (those in `until`, if given)."""
        op = self.single
        if op is not None and (not until or list(until) == list(op.outputs)):
            args, kwargs = twin._thaw(op.args, op, {}), twin._thaw(op.kwargs, op, {})
            model = twin.module(op).train(bool(op.training))
            if kwargs:
                return model, dict(inspect.signature(model.forward).bind(*args, **kwargs).arguments), op.outputs
            return model, args[0] if len(args) == 1 else tuple(args), op.outputs
        inputs = {i.number: i.tensor for i in self.step.inputs}
        outputs = list(until or frontier(twin.tape) or self.step.predictions)
        given = tuple(inputs.values())
        return Whole(twin, list(inputs), outputs), given[0] if len(given) == 1 else given, outputs

    def targets(self) -> dict[int, torch.Tensor]:
        return {i.number: i.tensor for i in self.step.targets}

    def loss(self, twin: Twin, outputs: Sequence[int]) -> Callable[..., torch.Tensor]:
        """The loss of outputs and targets: PyTorch's own where the step's loss is that, else the rest of the step, replayed."""
        calls = [c for c in self.step.losses if c.counts]
        if [c.name for c in calls] == ["cross_entropy"] and [calls[0].input] == list(outputs) and self._is_root(calls[0]):
            known = {
                k: v for k, v in calls[0].settings.items() if k in ("weight", "ignore_index", "label_smoothing", "reduction")
            }
            return nn.CrossEntropyLoss(**{k: v for k, v in known.items() if v is not None})
        rest = copy.copy(twin)
        rest.tape = between(twin.tape, outputs)
        numbers = list(self.targets())

        def loss(predicted: Any, wanted: Any = ()) -> torch.Tensor:
            given = dict(zip(outputs, tensors_in(predicted), strict=True)) | dict(zip(numbers, tensors_in(wanted), strict=True))
            return rest.total(rest.run(given, rng=False))

        return loss

    def _is_root(self, call: LossCall) -> bool:
        tape = self.step.tape
        return tape.roots == list(call.op.outputs) and tape.weights == [None] and len(self.targets()) == 1


def optimizers_made() -> list[torch.optim.Optimizer]:
    """A list to which every optimiser that is made from now on is added."""
    made: list[torch.optim.Optimizer] = []
    original = torch.optim.Optimizer.__init__

    def __init__(optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:
        original(optimizer, *args, **kwargs)
        made.append(optimizer)

    torch.optim.Optimizer.__init__ = __init__  # type: ignore[method-assign]
    return made


def held(optimizer: torch.optim.Optimizer, tensors: set[int]) -> int:
    """How many of the tensors, given by identity, an optimiser holds."""
    return sum(id(p) in tensors for group in optimizer.param_groups for p in group["params"])


class Whole(nn.Module):
    """Several modules and loose parameters as one: the recorded operations between `inputs` and `outputs`, replayed."""

    def __init__(self, twin: Twin, inputs: list[int], outputs: list[int]) -> None:
        super().__init__()
        modules = {id(m): m for op in twin.tape.modules() for m in [twin.module(op)]}
        values = [twin.tape.values[n] for n in twin.tape.constants()]
        loose = [
            p for v in values if v.parameter is not None for p in [twin.working(v.parameter)] if isinstance(p, nn.Parameter)
        ]
        self.parts, self.loose = nn.ModuleList(modules.values()), nn.ParameterList(loose)
        self._twin, self._inputs, self._outputs = twin, inputs, outputs

    def forward(self, *given: torch.Tensor) -> Any:
        self._twin.evaluating = not self.training
        env = self._twin.run(dict(zip(self._inputs, given, strict=True)), until=self._outputs, rng=False)
        results = [env[n] for n in self._outputs]
        return results[0] if len(results) == 1 else tuple(results)


def frontier(tape: Tape) -> list[int]:
    """What the loss is computed from: the results of modules that it meets first, going back."""
    needed, found = set(tape.roots), []
    for op in reversed(tape.ops):
        met = [n for n in (*op.outputs, *op.mutated) if n in needed]
        if met and op.kind == "module":
            found += met
        elif met:
            needed |= set(op.inputs)
    return found[::-1]


def between(tape: Tape, given: Sequence[int]) -> Tape:
    """The part of a tape that leads from the values `given` to the loss."""
    needed, ops = set(tape.roots) - set(given), []
    for op in reversed(tape.ops):
        if needed & {*op.outputs, *op.mutated, *(n for _, _, n in op.leaks)}:
            ops.append(op)
            needed |= set(op.inputs) - set(given)
    return dataclasses.replace(tape, ops=ops[::-1])


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


# ---- the peers

PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "torchtest2",
            "torchtest2",
            {
                "forward": "",
                "output_finite": "non-finite",
                "output_varies": "input-independent-baseline unused-inputs dead-units saturation symmetric-init broadcast-loss",
                "eval_determinism": "dropout-in-eval irreproducible",
                "loss": "graph-cut non-finite",
                "initial_loss": "loss-at-init init-scale input-scale output-bias-at-init peeking-ahead",
                "optimizer_coverage": "parameters-missing-from-optimizer stale-optimizer unregistered-parameters",
                "gradient_flow": "graph-cut unused-parameters dead-units saturation vanishing-gradients symmetric-init "
                "parameters-never-updated gradients-in-evaluation",
                "gradient_magnitude": "exploding-gradients init-scale input-scale non-finite",
                "params_change": "parameters-never-updated parameters-missing-from-optimizer stale-optimizer graph-cut "
                "unused-parameters dead-units vanishing-gradients update-ratio step-missing learning-rate-range "
                "learning-rate-starved",
                "input_dependency": "unused-inputs input-independent-baseline graph-cut",
                "batch_independence": "batch-mixing wrong-class-dimension",
                "overfit_batch": "overfit-one-batch learning-rate-range learning-rate-starved update-ratio non-finite "
                "broadcast-loss bounded-head",
            },
            torchtest2,
        ),
        Peer(
            "torch-audit",
            "torch_audit",
            {
                "TA100": "non-finite exploding-gradients",
                "TA102": "exploding-gradients init-scale input-scale non-finite",
                "TA104": "graph-cut zero-grad-before-step parameters-never-updated stale-optimizer",
                "TA105": "dead-units",
                "TA301": "input-scale",
                "TA302": "input-scale input-independent-baseline unused-inputs",
                "TA305": "non-finite",
                "TA405": "dead-units symmetric-init init-scale",
                "TA500": "unused-parameters unused-inputs unregistered-parameters",
            },
            torch_audit,
        ),
        Peer(
            "neural-net-checklist",
            "neural_net_checklist",
            {
                "loss_at_init": "loss-at-init init-scale input-scale output-bias-at-init",
                "init_calibrated": "loss-at-init init-scale input-scale output-bias-at-init",
                "batch_independence": "batch-mixing wrong-class-dimension unused-inputs dropout-in-eval",
                "causal_property": "peeking-ahead",
                "non_zero_gradients": "graph-cut unused-parameters dead-units saturation vanishing-gradients symmetric-init "
                "parameters-never-updated",
                "input_independent_baseline": "input-independent-baseline unused-inputs",
                "overfit_to_batch": "overfit-one-batch",
            },
            neural_net_checklist,
        ),
        Peer(
            "mldoctor check",
            "mldoctor",
            {
                "missing_zero_grad": "missing-zero-grad",
                "missing_eval": "eval-in-train-mode dropout-in-eval",
                "oom_leak": "loss-accumulated-with-graph graph-retained",
                "double_softmax": "softmax-before-cross-entropy",
            },
            mldoctor_check,
        ),
        Peer(
            "mldoctor watch",
            "mldoctor",
            {
                "nan_inf": "non-finite exploding-gradients learning-rate-range",
                "loss_exploded": "exploding-gradients learning-rate-range non-finite input-scale",
            },
            mldoctor_watch,
        ),
    )
}


def sweep(peers: Iterable[Peer], scripts: Iterable[Path], seconds: float, store: Path | None = None) -> Iterator[Answer]:
    """Every peer on every script; answers already in `store` are not asked for again, and new ones are added to it."""
    lines = store.read_text().splitlines() if store is not None and store.exists() else []
    known = {(a.peer, a.script): a for a in (Answer(**json.loads(line)) for line in lines)}
    for peer, script in ((p, s) for p in peers for s in scripts):
        answer = known.get((peer.name, os.path.relpath(script.resolve(), ROOT)))
        if answer is None:
            answer = ask(peer, script, seconds)
            if store is not None:
                with store.open("a") as file:
                    file.write(json.dumps(dataclasses.asdict(answer)) + "\n")
        yield answer


EXPLAINED = """\
An alarm is anything above a tool's level "info". A tool that raises the same alarm on nearly every program has found a
fault only formally: read the first column beside those on healthy programs. Named right: one of the alarms is of a rule
that, read generously, points at this fault (`names` in `benchmarks/peers.py`). A tool that cannot run on a program has
neither found nor missed anything there. The tools that need code in a script were served by `benchmarks/peers.py`, with
the first training step of the script as trainrecipe records it; the seconds include running the script up to there.
`mldoctor watch` reads what a script prints: these print accuracies, or losses that stay finite."""


def summary(answers: Sequence[Answer]) -> Iterator[str]:
    """A row for each peer, of the table that `detection.py` writes."""
    for name, peer in PEERS.items():
        own = [a for a in answers if a.peer == name]
        if not own:
            yield f"| {name} | {'not run' if peer.installed else 'not installed'} | | | | | |"
            continue
        faulty, twins, zoo = (
            [a for a in own if a.script.startswith(start) and (start == "zoo" or ("/faulty" in a.script) == planted)]
            for start, planted in (("gallery", True), ("gallery", False), ("zoo", False))
        )
        alarmed = [sum(bool(a.alarms) for a in part) for part in (faulty, twins, zoo)]
        named, cannot = sum(a.named for a in faulty), sum(bool(a.why) for a in own)
        yield (
            f"| {name} | {alarmed[0]} | {named} | {alarmed[1]} of {len(twins)} | {alarmed[2]} of {len(zoo)} "
            f"| {cannot} of {len(own)} | {statistics.median(a.seconds for a in own):.1f} |"
        )


def details(answers: Sequence[Answer]) -> Iterator[str]:
    """For each planted fault what each peer said, and why peers could not run."""
    asked = list(dict.fromkeys(a.peer for a in answers))
    if not asked:
        return
    by = {(a.script, a.peer): a for a in answers}
    yield f"| planted fault | {' | '.join(asked)} |"
    yield "|---" * (len(asked) + 1) + "|"
    for script in dict.fromkeys(a.script for a in answers if "/faulty" in a.script):
        yield f"| {script} | {' | '.join(_cell(by.get((script, p))) for p in asked)} |"
    yield ""
    for peer in asked:
        reasons = collections.Counter(a.why for a in answers if a.peer == peer and a.why)
        if reasons:
            yield f"- {peer} cannot run: " + "; ".join(f"{why} ({n})" for why, n in reasons.most_common())


def _cell(answer: Answer | None) -> str:
    if answer is None or answer.why:
        return "cannot run" if answer is not None else ""
    names = PEERS[answer.peer].names
    right = [answer.suspect in names.get(rule, "").split() for rule in answer.alarms]
    return ", ".join(f"**{rule}**" if r else rule for rule, r in zip(answer.alarms, right, strict=True)) or "–"


def preload(peers: Iterable[Peer]) -> list[Peer]:
    """Import what is installed, once, so that only the looking is timed; returns those peers."""
    testing.preload()
    found = [p for p in peers if p.installed]
    for peer in found:
        importlib.import_module(peer.module)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=[*PEERS, "all"])
    parser.add_argument("scripts", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time limit for one peer on one script")
    parser.add_argument("--echo", action="store_true", help="also what the script and the peer printed")
    options = parser.parse_args()
    wanted = PEERS.values() if options.peer == "all" else [PEERS[options.peer]]
    for peer, script in ((p, s) for p in preload(wanted) for s in options.scripts):
        answer = ask(peer, script, options.seconds, options.echo)
        verdict = answer.why and f"cannot run: {answer.why}"
        named = " (named)" if answer.named else ""
        print(f"{answer.peer:21} {answer.script} {answer.seconds:.1f}s {verdict or answer.alarms}{named}", flush=True)


if __name__ == "__main__":
    main()
