"""Operators that plant one silent fault into a healthy script, by what the syntax tree says and nothing else.

Each takes a tree, changes it in place, and says whether it found a place. They know nothing of checks but the ids that
would name the fault. A script is mutated as a tired person would change it, in one place, or in all places where one
alone would leave the program healthy.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence

Plant = Callable[[ast.Module], bool]


@dataclasses.dataclass(frozen=True)
class Operator:
    """A way to plant a fault: `named_by` are the checks that name it; `silent` tells that results need not change.

    Where results must change, a mutant that trains to the same weights and prints the same is no fault and left out.
    """

    name: str
    plant: Plant
    named_by: frozenset[str]
    silent: bool = False
    twice: bool = False


OPERATORS: list[Operator] = []


def plants(*checks: str, silent: bool = False, twice: bool = False) -> Callable[[Plant], Plant]:
    """Register an operator under its function's name; `checks` are the ids that name what it plants."""

    def register(plant: Plant) -> Plant:
        OPERATORS.append(Operator(plant.__name__.replace("_", "-"), plant, frozenset(checks), silent, twice))
        return plant

    return register


# ---- walking and changing trees


def blocks(tree: ast.AST) -> Iterator[list[ast.stmt]]:
    """Every list of statements."""
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            held = getattr(node, field, None)
            if isinstance(held, list) and held and isinstance(held[0], ast.stmt):
                yield held


def tail(node: ast.AST) -> str:
    """The last name of a call, attribute or name: `zero_grad` of `self.optimizer.zero_grad()`."""
    if isinstance(node, ast.Call):
        return tail(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def is_call(node: ast.AST, *names: str) -> bool:
    """Whether a node is a call of one of these names."""
    return isinstance(node, ast.Call) and tail(node) in names


def is_statement(node: ast.AST, *names: str) -> bool:
    """Whether a node is a statement that only makes such a call."""
    return isinstance(node, ast.Expr) and is_call(node.value, *names)


def contains(node: ast.AST, *names: str) -> bool:
    """Whether such a call is made anywhere inside."""
    return any(is_call(n, *names) for n in ast.walk(node))


def fill(template: str, **nodes: ast.expr) -> ast.expr:
    """An expression with the names in capitals replaced by other expressions."""

    class _Fill(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return copy.deepcopy(nodes[node.id]) if node.id in nodes else node

    return _Fill().visit(ast.parse(template, mode="eval").body)


def statement(text: str) -> ast.stmt:
    """A statement out of text."""
    return ast.parse(text).body[0]


def rewrite(tree: ast.Module, change: Callable[[ast.expr], ast.expr | None], first: bool = False) -> bool:
    """Replace expressions where `change` gives another one; with `first` only one of them."""
    count = 0

    class _Rewrite(ast.NodeTransformer):
        def generic_visit(self, node: ast.AST) -> ast.AST:
            nonlocal count
            super().generic_visit(node)
            if isinstance(node, ast.expr) and not (first and count):
                new = change(node)
                if new is not None:
                    count += 1
                    return ast.copy_location(new, node)
            return node

    _Rewrite().visit(tree)
    return count > 0


def drop(tree: ast.Module, *names: str, most: int | None = None) -> bool:
    """Replace statements that only make such a call by `pass`."""
    count = 0
    for block in blocks(tree):
        for i, node in enumerate(block):
            if is_statement(node, *names) and (most is None or count < most):
                block[i] = ast.Pass()
                count += 1
    return count > 0


def prelude(tree: ast.Module, text: str) -> None:
    """Put definitions after the imports at the top."""
    at = max((i for i, n in enumerate(tree.body) if isinstance(n, ast.Import | ast.ImportFrom)), default=-1) + 1
    tree.body[at:at] = ast.parse(text).body


def batch_loops(tree: ast.Module) -> list[ast.For]:
    """The innermost loops in which backward is called."""
    loops = [n for n in ast.walk(tree) if isinstance(n, ast.For) and contains(n, "backward")]
    return [n for n in loops if not any(m is not n and m in ast.walk(n) for m in loops)]


def swap(tree: ast.Module, first: Sequence[str], second: Sequence[str]) -> bool:
    """Where a call of `first` comes before one of `second` in a block, exchange the two statements."""
    for block in blocks(tree):
        one = next((i for i, n in enumerate(block) if _calls(n, first)), None)
        two = next((i for i, n in enumerate(block) if _calls(n, second)), None)
        if one is not None and two is not None and one < two:
            block[one], block[two] = block[two], block[one]
            return True
    return False


def _calls(node: ast.stmt, names: Sequence[str]) -> bool:
    if is_statement(node, *names):
        return True
    return isinstance(node, ast.Assign) and is_call(node.value, *names)


# ---- losses


_FUNCTIONS = {
    "CrossEntropyLoss": "cross_entropy",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
    "MSELoss": "mse_loss",
}


def loss_calls(tree: ast.Module, function: str) -> list[ast.Call]:
    """Calls of a loss, as a function or through an object made of its class, inside loops or functions that train."""
    held = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _FUNCTIONS.get(tail(node.value)) == function:
            held |= {tail(t) for t in node.targets}
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and len(n.args) >= 2]
    return [c for c in calls if tail(c) == function or (tail(c) in held and tail(c))]


def on_prediction(tree: ast.Module, function: str, template: str) -> bool:
    """Change what a loss is given as prediction, in all its calls."""
    calls = loss_calls(tree, function)
    for call in calls:
        call.args[0] = fill(template, X=call.args[0])
    return bool(calls)


@plants("softmax-before-cross-entropy")
def softmax_before_cross_entropy(tree: ast.Module) -> bool:
    return on_prediction(tree, "cross_entropy", "X.softmax(1)")


@plants("clipped-logits")
def relu_on_logits(tree: ast.Module) -> bool:
    return on_prediction(tree, "cross_entropy", "X.relu()")


@plants("sigmoid-before-bce-logits")
def sigmoid_before_bce_with_logits(tree: ast.Module) -> bool:
    return on_prediction(tree, "binary_cross_entropy_with_logits", "X.sigmoid()")


@plants("bounded-head")
def tanh_on_regression(tree: ast.Module) -> bool:
    return on_prediction(tree, "mse_loss", "X.tanh()")


@plants("broadcast-loss")
def broadcast_by_hand(tree: ast.Module) -> bool:
    def change(node: ast.expr) -> ast.expr | None:
        if node in calls:
            return fill("((A.reshape(-1, 1) - B.reshape(-1)) ** 2).mean()", A=node.args[0], B=node.args[1])
        return None

    calls = loss_calls(tree, "mse_loss")
    return rewrite(tree, change)


@plants("graph-cut", "parameters-never-updated")
def detach_prediction(tree: ast.Module) -> bool:
    changed = [on_prediction(tree, f, "X.detach().requires_grad_()") for f in _FUNCTIONS.values()]
    return any(changed)


@plants("loss-scales-with-batch", "learning-rate-range", "clip-to-nothing", "update-ratio")
def sum_over_batch(tree: ast.Module) -> bool:
    def change(node: ast.expr) -> ast.expr | None:
        named = is_call(node, *_FUNCTIONS) or is_call(node, *_FUNCTIONS.values())
        if named and not any(k.arg == "reduction" for k in node.keywords):
            node.keywords.append(ast.keyword("reduction", ast.Constant("sum")))
            return node
        return None

    return rewrite(tree, change)


@plants("loss-sign")
def flip_loss(tree: ast.Module) -> bool:
    return _on_backward(tree, "(-X)")


@plants("clip-loss")
def clamp_loss(tree: ast.Module) -> bool:
    return _on_backward(tree, "X.clamp(-0.1, 0.1)")


@plants("loss-constant")
def divide_loss_by_itself(tree: ast.Module) -> bool:
    return _on_backward(tree, "(X / X.item())")


def _on_backward(tree: ast.Module, template: str) -> bool:
    def change(node: ast.expr) -> ast.expr | None:
        if is_call(node, "backward") and isinstance(node.func, ast.Attribute) and not node.args:
            node.func.value = fill(template, X=node.func.value)
            return node
        return None

    return rewrite(tree, change)


# ---- the step


@plants("missing-zero-grad", "gradients-from-another-optimizer")
def drop_zero_grad(tree: ast.Module) -> bool:
    return drop(tree, "zero_grad")


@plants("missing-zero-grad", "gradients-from-another-optimizer")
def drop_one_zero_grad_of_several(tree: ast.Module) -> bool:
    several = sum(is_statement(n, "zero_grad") for n in ast.walk(tree)) > 1
    return several and drop(tree, "zero_grad", most=1)


@plants("zero-grad-before-step")
def zero_grad_after_backward(tree: ast.Module) -> bool:
    for block in blocks(tree):
        step = next((i for i, n in enumerate(block) if is_statement(n, "step")), None)
        back = next((i for i, n in enumerate(block) if is_statement(n, "backward")), None)
        zero = next((i for i, n in enumerate(block) if is_statement(n, "zero_grad")), None)
        if step is not None and back is not None and zero is not None and back < step:
            moved = block.pop(zero)
            at = next(i for i, n in enumerate(block) if is_statement(n, "backward")) + 1
            block.insert(at, moved)
            return zero != at
    return False


@plants("step-missing", "parameters-never-updated")
def drop_step(tree: ast.Module) -> bool:
    def steps(node: ast.stmt) -> bool:
        return is_statement(node, "step") and "sched" not in ast.unparse(node).lower() and "scaler" not in ast.unparse(node)

    for block in blocks(tree):
        for i, node in enumerate(block):
            if steps(node) and any(is_statement(n, "backward") for n in block):
                block[i] = ast.Pass()
                return True
    return False


@plants("clip-after-step")
def clip_after_step(tree: ast.Module) -> bool:
    return swap(tree, ["clip_grad_norm_", "clip_grad_value_"], ["step"])


@plants("clip-to-nothing")
def clip_to_nothing(tree: ast.Module) -> bool:
    def change(node: ast.expr) -> ast.expr | None:
        if is_call(node, "clip_grad_norm_") and len(node.args) > 1:
            node.args[1] = ast.Constant(1e-4)
            return node
        return None

    return rewrite(tree, change)


@plants("scheduler-before-optimizer")
def scheduler_first(tree: ast.Module) -> bool:
    for block in blocks(tree):
        steps = [i for i, n in enumerate(block) if is_statement(n, "step")]
        own = [i for i in steps if "sched" in ast.unparse(block[i]).lower()]
        other = [i for i in steps if i not in own]
        if own and other and other[0] < own[0]:
            block[own[0]], block[other[0]] = block[other[0]], block[own[0]]
            return True
    return False


@plants("learning-rate-range", "update-ratio", "exploding-gradients", "non-finite", "dead-units")
def rate_times_a_thousand(tree: ast.Module) -> bool:
    return _on_rate(tree, "X * 1000.0")


@plants("learning-rate-range", "update-ratio", "learning-rate-starved")
def rate_over_a_million(tree: ast.Module) -> bool:
    return _on_rate(tree, "X / 1000000.0")


def _on_rate(tree: ast.Module, template: str) -> bool:
    def change(node: ast.expr) -> ast.expr | None:
        if isinstance(node, ast.Call) and "optim." in ast.unparse(node.func) and "sched" not in ast.unparse(node.func):
            rates = [k for k in node.keywords if k.arg == "lr"]
            for k in rates:
                k.value = fill(template, X=k.value)
            return node if rates else None
        return None

    return rewrite(tree, change)


@plants("weight-decay-overwhelms", "learning-rate-range")
def huge_weight_decay(tree: ast.Module) -> bool:
    return _on_optimizer(tree, "weight_decay", ast.Constant(10.0))


def _on_optimizer(tree: ast.Module, name: str, value: ast.expr) -> bool:
    def change(node: ast.expr) -> ast.expr | None:
        if is_call(node, "SGD", "Adam", "AdamW", "RMSprop"):
            node.keywords = [k for k in node.keywords if k.arg != name] + [ast.keyword(name, value)]
            return node
        return None

    return rewrite(tree, change)


@plants("parameters-missing-from-optimizer")
def leave_out_parameters(tree: ast.Module) -> bool:
    def change(node: ast.expr) -> ast.expr | None:
        if is_call(node, "SGD", "Adam", "AdamW", "RMSprop") and node.args and is_call(node.args[0], "parameters"):
            node.args[0] = fill("list(X)[2:]", X=node.args[0])
            return node
        return None

    return rewrite(tree, change, first=True)


@plants("optimizer-recreated", "stale-optimizer", "scheduler-of-another-optimizer")
def recreate_optimizer(tree: ast.Module) -> bool:
    for block in blocks(tree):
        for i, node in enumerate(block):
            if not (isinstance(node, ast.Assign) and is_call(node.value, "Adam", "AdamW", "RMSprop", "SGD")):
                continue
            loop = next((n for n in block[i:] if isinstance(n, ast.For)), None)
            if loop is not None and (tail(node.value) != "SGD" or "momentum" in ast.unparse(node)):
                loop.body.insert(0, copy.deepcopy(node))
                return True
    return False


@plants("seed-reset-in-loop", "same-batch", "epoch-order-repeats")
def seed_in_loop(tree: ast.Module) -> bool:
    loops = batch_loops(tree)
    for loop in loops:
        loop.body.insert(0, statement("torch.manual_seed(0)"))
    return bool(loops)


@plants("loss-accumulated-with-graph", silent=True)
def keep_graph(tree: ast.Module) -> bool:
    for loop in batch_loops(tree):
        for node in ast.walk(loop):
            adds = isinstance(node, ast.AugAssign) and isinstance(node.value, ast.Call) and tail(node.value) == "item"
            if adds and "loss" in ast.unparse(node.value):
                node.value = node.value.func.value  # type: ignore[attr-defined]
                return True
    return False


# ---- modes and evaluation


@plants("eval-in-train-mode")
def drop_eval(tree: ast.Module) -> bool:
    return drop(tree, "eval")


@plants("train-in-eval-mode")
def drop_train(tree: ast.Module) -> bool:
    return drop(tree, "train") and any(is_statement(n, "eval") for n in ast.walk(tree))


@plants("gradients-in-evaluation", silent=True)
def drop_no_grad(tree: ast.Module) -> bool:
    found = False
    for node in ast.walk(tree):
        if isinstance(node, ast.With) and is_call(node.items[0].context_expr, "no_grad", "inference_mode"):
            node.items[0].context_expr = fill("torch.enable_grad()")
            found = True
        if isinstance(node, ast.FunctionDef):
            kept = [d for d in node.decorator_list if not is_call(d, "no_grad", "inference_mode")]
            found |= len(kept) < len(node.decorator_list)
            node.decorator_list = kept
    return found


@plants("metric-on-wrong-axis", "metric-wrong")
def argmax_over_batch(tree: ast.Module) -> bool:
    def change(node: ast.expr) -> ast.expr | None:
        if is_call(node, "argmax") and (node.args or node.keywords):
            where = [*node.args, *(k.value for k in node.keywords if k.arg in ("dim", "axis"))]
            for value in where:
                if isinstance(value, ast.Constant) and value.value == 1:
                    value.value = 0
                    return node
        return None

    return rewrite(tree, change)


@plants("train-val-overlap")
def validate_on_training_data(tree: ast.Module) -> bool:
    built = [n for n in ast.walk(tree) if is_call(n, "DataLoader") and n.args]
    if len(built) < 2 or ast.unparse(built[0].args[0]) == ast.unparse(built[1].args[0]):
        return False
    scopes = [f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and any(b in ast.walk(f) for b in built)]
    if scopes and not any(all(b in ast.walk(f) for b in built[:2]) for f in scopes):
        return False
    built[1].args[0] = copy.deepcopy(built[0].args[0])
    return True


@plants("best-weights-by-reference")
def best_by_reference(tree: ast.Module) -> bool:
    def change(node: ast.expr) -> ast.expr | None:
        if is_call(node, "deepcopy") and node.args and is_call(node.args[0], "state_dict"):
            return node.args[0]
        return None

    return rewrite(tree, change)


# ---- data


_SHUFFLED = """
import random as _random
class _Shuffled(torch.utils.data.Dataset):
    def __init__(self, data):
        self.data = data
        self.order = _random.Random(0).sample(range(len(data)), len(data))
    def __len__(self):
        return len(self.data)
    def __getitem__(self, i):
        return (*self.data[i][:-1], self.data[self.order[i]][-1])
"""


@plants("inputs-and-labels-unrelated", "overfit-one-batch")
def shuffle_labels(tree: ast.Module) -> bool:
    return _on_training_data(tree, "_Shuffled(X)", _SHUFFLED)


@plants("label-order", "one-class-batches")
def sort_by_label(tree: ast.Module) -> bool:
    made = _on_training_data(
        tree,
        "torch.utils.data.Subset(X, sorted(range(len(X)), key=lambda i: int(X[i][-1])))",
        "",
    )
    built = [n for n in ast.walk(tree) if is_call(n, "DataLoader")]
    for k in built[0].keywords if built else ():
        if k.arg == "shuffle":
            k.value = ast.Constant(False)
    return made


@plants("data-dropped")
def most_data_dropped(tree: ast.Module) -> bool:
    built = [n for n in ast.walk(tree) if is_call(n, "DataLoader") and n.args]
    if not built or any(k.arg in ("batch_sampler", "sampler") for k in built[0].keywords):
        return False
    short = fill("torch.utils.data.SubsetRandomSampler(range(len(X) // 20))", X=built[0].args[0])
    built[0].keywords = [k for k in built[0].keywords if k.arg != "shuffle"] + [ast.keyword("sampler", short)]
    return True


@plants("same-batch")
def one_batch_only(tree: ast.Module) -> bool:
    for loop in batch_loops(tree):
        if "loader" in ast.unparse(loop.iter).lower() and isinstance(loop.iter, ast.Name | ast.Attribute):
            loop.iter = fill("[next(iter(X))] * len(X)", X=loop.iter)
            return True
    return False


def _on_training_data(tree: ast.Module, template: str, define: str) -> bool:
    built = [n for n in ast.walk(tree) if is_call(n, "DataLoader") and n.args]
    if not built or not any(k.arg == "shuffle" and getattr(k.value, "value", False) for k in built[0].keywords):
        return False
    built[0].args[0] = fill(template, X=built[0].args[0])
    if define:
        prelude(tree, "import torch\n" + define)
    return True


@plants("input-scale")
def pixels_in_hundreds(tree: ast.Module) -> bool:
    def change(node: ast.expr) -> ast.expr | None:
        called = is_call(node, "model", "net", "self.model") and len(node.args) == 1 and not node.keywords
        if called and isinstance(node.args[0], ast.Name) and isinstance(node.func, ast.Name | ast.Attribute):
            node.args[0] = fill("(X * 255.0 if X.is_floating_point() else X)", X=node.args[0])
            return node
        return None

    return rewrite(tree, change)


@plants("constant-or-nonfinite-features", "non-finite", "unused-inputs")
def missing_values(tree: ast.Module) -> bool:
    def change(node: ast.expr) -> ast.expr | None:
        called = is_call(node, "model", "net") and len(node.args) == 1 and isinstance(node.args[0], ast.Name)
        if called:
            where = "X.masked_fill(torch.arange(X.shape[-1]) == 3, float('nan'))"
            node.args[0] = fill(f"({where} if X.is_floating_point() else X)", X=node.args[0])
            return node
        return None

    return rewrite(tree, change)


# ---- the model


@plants("symmetric-init")
def constant_init(tree: ast.Module) -> bool:
    return _after_model(tree, "[torch.nn.init.constant_(p, 0.01) for p in X.parameters()]")


@plants("init-scale", "loss-at-init", "exploding-gradients")
def wide_init(tree: ast.Module) -> bool:
    return _after_model(tree, "[torch.nn.init.normal_(p, 0.0, 1.0) for p in X.parameters() if p.ndim > 1]")


@plants("train-in-eval-mode")
def eval_at_start_only(tree: ast.Module) -> bool:
    return drop(tree, "train") and _after_model(tree, "X.eval()")


def _after_model(tree: ast.Module, template: str) -> bool:
    classes = {n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and any(tail(b) == "Module" for b in n.bases)}
    for block in blocks(tree):
        for i, node in enumerate(block):
            if isinstance(node, ast.Assign) and is_call(node.value, *classes, "Sequential") and len(node.targets) == 1:
                target = node.targets[0]
                if isinstance(target, ast.Name):
                    block.insert(i + 1, ast.Expr(fill(template, X=ast.Name(target.id))))
                    return True
    return False


@plants("unregistered-parameters")
def layers_in_a_list(tree: ast.Module) -> bool:
    return rewrite(tree, lambda n: fill("list(X)", X=n.args[0]) if is_call(n, "ModuleList") and n.args else None)


@plants("shared-layer-instances")
def one_layer_many_times(tree: ast.Module) -> bool:
    def change(node: ast.expr) -> ast.expr | None:
        if not (is_call(node, "ModuleList", "Sequential") and node.args):
            return None
        inner = node.args[0].value if isinstance(node.args[0], ast.Starred) else node.args[0]
        if not isinstance(inner, ast.ListComp | ast.GeneratorExp):
            return None
        over = inner.generators[0]
        names = {n.id for n in ast.walk(over.target) if isinstance(n, ast.Name)}
        if not is_call(over.iter, "range") or any(isinstance(n, ast.Name) and n.id in names for n in ast.walk(inner.elt)):
            return None
        made = fill("[E] * len(R)", E=inner.elt, R=over.iter)
        node.args[0] = ast.Starred(made, ast.Load()) if isinstance(node.args[0], ast.Starred) else made
        return node

    return rewrite(tree, change)


@plants("missing-nonlinearity")
def drop_activations(tree: ast.Module) -> bool:
    kinds = ("ReLU", "GELU", "Tanh", "SiLU", "LeakyReLU", "ELU")

    def change(node: ast.expr) -> ast.expr | None:
        if is_call(node, *kinds):
            return fill("torch.nn.Identity()")
        if is_call(node, "relu", "gelu", "tanh", "silu") and len(node.args) == 1 and ast.unparse(node.func)[:2] in ("F.", "to"):
            return node.args[0]
        return None

    return rewrite(tree, change)


@plants("dropout-in-eval")
def dropout_always_on(tree: ast.Module) -> bool:
    def change(node: ast.expr) -> ast.expr | None:
        rate = node.args[0] if isinstance(node, ast.Call) and node.args else ast.Constant(0.5)
        return fill("_Always(X)", X=rate) if is_call(node, "Dropout") else None

    made = rewrite(tree, change)
    if made:
        prelude(
            tree,
            "import torch\nclass _Always(torch.nn.Module):\n"
            "    def __init__(self, p):\n        super().__init__()\n        self.p = p\n"
            "    def forward(self, x):\n        return torch.nn.functional.dropout(x, self.p)\n",
        )
    return made


@plants("dropout-placement", "overfit-one-batch")
def dropout_on_logits(tree: ast.Module) -> bool:
    return on_prediction(tree, "cross_entropy", "torch.nn.functional.dropout(X, 0.5, X.requires_grad)")


@plants("batch-mixing", "scrambled-axes")
def batch_second(tree: ast.Module) -> bool:
    def change(node: ast.expr) -> ast.expr | None:
        if is_call(node, "LSTM", "GRU", "RNN", "MultiheadAttention", "TransformerEncoderLayer"):
            before = len(node.keywords)
            node.keywords = [k for k in node.keywords if k.arg != "batch_first"]
            return node if len(node.keywords) < before else None
        return None

    return rewrite(tree, change)


@plants("scrambled-axes", "batch-mixing")
def reshape_for_permute(tree: ast.Module) -> bool:
    def change(node: ast.expr) -> ast.expr | None:
        if is_call(node, "permute", "transpose") and isinstance(node.func, ast.Attribute) and len(node.args) >= 2:
            order = fill("X", X=ast.Tuple([*node.args], ast.Load()))
            return fill(f"_scrambled(X, O, {tail(node) == 'transpose'})", X=node.func.value, O=order)
        return None

    made = rewrite(tree, change)
    if made:
        prelude(
            tree,
            "def _scrambled(x, order, two):\n"
            "    sizes = list(x.shape)\n"
            "    if two:\n        a, b = order\n        sizes[a], sizes[b] = sizes[b], sizes[a]\n"
            "    else:\n        sizes = [sizes[d] for d in (order[0] if isinstance(order[0], tuple) else order)]\n"
            "    return x.reshape(sizes)\n",
        )
    return made


@plants("peeking-ahead")
def drop_causal_mask(tree: ast.Module) -> bool:
    def change(node: ast.expr) -> ast.expr | None:
        if isinstance(node, ast.Call):
            for k in node.keywords:
                if k.arg == "is_causal" and getattr(k.value, "value", None) is True:
                    k.value = ast.Constant(False)
                    return node
                if k.arg in ("attn_mask", "mask", "src_mask", "tgt_mask") and not isinstance(k.value, ast.Constant):
                    k.value = ast.Constant(None)
                    return node
        if is_call(node, "masked_fill") and isinstance(node.func, ast.Attribute):
            return node.func.value
        return None

    causal = any(word in ast.unparse(tree) for word in ("triu", "tril", "is_causal", "generate_square_subsequent_mask"))
    return causal and rewrite(tree, change)


@plants("batch-norm-momentum")
def keras_momentum(tree: ast.Module) -> bool:
    def change(node: ast.expr) -> ast.expr | None:
        if is_call(node, "BatchNorm1d", "BatchNorm2d"):
            node.keywords = [k for k in node.keywords if k.arg != "momentum"] + [ast.keyword("momentum", ast.Constant(0.99))]
            return node
        return None

    return rewrite(tree, change)


@plants("result-discarded", "missing-nonlinearity")
def discard_result(tree: ast.Module) -> bool:
    for block in blocks(tree):
        for i, node in enumerate(block):
            kinds = ("relu", "gelu", "tanh", "dropout", "act", "drop", "clamp")
            if not (isinstance(node, ast.Assign) and is_call(node.value, *kinds) and len(node.targets) == 1):
                continue
            if any(ast.unparse(a) == ast.unparse(node.targets[0]) for a in node.value.args):  # type: ignore[attr-defined]
                block[i] = ast.Expr(node.value)
                return True
    return False


@plants("irreproducible", silent=True, twice=True)
def drop_seeds(tree: ast.Module) -> bool:
    return drop(tree, "manual_seed", "seed_everything", "set_seed", "set_random_seed")
