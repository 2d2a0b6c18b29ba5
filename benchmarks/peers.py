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
import dataclasses
import importlib
import importlib.util
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

from handed import Notes, OverTime
from peer_tools import mldoctor_check, mldoctor_watch, neural_net_checklist, torch_audit, torchtest2

from trainrecipe import testing
from trainrecipe.capture.launch import Order

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 60.0
"""The time limit for one peer on one script."""


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


def ask(peer: Peer, script: Path, seconds: float = SECONDS, echo: bool = False) -> Answer:
    """Have one peer look at one script, in a forked child in an empty folder."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="trainrecipe-peer-") as folder:
        rehearsal = script.parent.name not in testing.WHOLE_RUN
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
