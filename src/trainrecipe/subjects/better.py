"""Whether a quantity of the script's is better when it is higher or lower, read from the words and the source behind it."""

from __future__ import annotations

import ast
import linecache
import re

from trainrecipe.finding import Place

HIGHER = re.compile(
    r"(?:^|[^a-z])[vt]?(?:acc|accuracy|f1|auc|auroc|auprc|iou|miou|jaccard|dice|bleu|rouge|r2|kappa|mcc|precision|recall|mrr|ndcg|psnr|"
    r"ssim|pearsonr|spearmanr|reward)(?:[^a-z]|$)"
)
LOWER = re.compile(
    r"(?:^|[^a-z])[vt]?(?:loss|losses|err|error|mse|rmse|mae|nll|ppl|perplexity|bpc|wer|cer|cross entropy|criterion)"
    r"(?:[^a-z]|$)"
)
"""Names that the field gives to quantities that are better when they are higher, or lower; also as `vloss`, `tacc`."""
DEPTH = 6
"""Assignments and calls that are followed back at most."""
THROUGH = frozenset({"float", "round", "item", "mean", "sum", "cpu", "numpy", "detach", "array", "tensor", "double"})
"""Calls that leave the direction as it is."""


def direction(words: str) -> int:
    """1 if the words say that higher is better, -1 if lower, 0 if they say neither or both."""
    plain = re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower().replace("_", " ")
    return int(bool(HIGHER.search(plain))) - int(bool(LOWER.search(plain)))


def better(source: str, at: Place | None) -> int:
    """The same for an expression at a line of the script: by its own words, else by those of what it was computed from."""
    try:
        node = ast.parse(source.strip(), mode="eval").body
        tree = ast.parse("".join(linecache.getlines(at.file))) if at is not None else ast.Module([], [])
    except SyntaxError:
        return 0
    return _Reader(tree).of(node, _around(tree, at.line if at is not None else 0), DEPTH)


def _around(tree: ast.Module, line: int) -> ast.AST:
    """The innermost function around a line, or the module."""
    inside = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.lineno <= line <= (n.end_lineno or n.lineno)
    ]
    return max(inside, key=lambda n: n.lineno, default=tree)


class _Reader:
    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree

    def of(self, node: ast.expr, scope: ast.AST, depth: int) -> int:
        """The direction of an expression in a function."""
        if depth <= 0:
            return 0
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return -self.of(inner, scope, depth)
            case ast.BinOp(left=ast.Constant(), op=ast.Sub(), right=inner):
                return -self.of(inner, scope, depth)
            case ast.BinOp(left=ast.Constant(), op=ast.Mult(), right=inner):
                return self.of(inner, scope, depth)
            case ast.BinOp(left=inner, op=ast.Div() | ast.Mult(), right=right):
                return self.of(inner, scope, depth) if isinstance(right, ast.Constant) or isinstance(node.op, ast.Div) else 0
            case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq()], comparators=[right]):
                if isinstance(left, ast.Constant) or isinstance(right, ast.Constant):
                    return 0  # counts a class, not what is right
                return 1 if isinstance(node.ops[0], ast.Eq) else -1
            case ast.Name(id=name):
                return direction(name) or self._assigned(name, scope, depth - 1)
            case ast.Attribute(attr=name):
                return direction(name)
            case ast.Subscript(value=value, slice=ast.Constant(value=str(key))):
                return direction(key) or self.of(value, scope, depth - 1)
            case ast.Call():
                return self._called(node, None, scope, depth)
        return 0

    def _called(self, node: ast.Call, item: int | None, scope: ast.AST, depth: int) -> int:
        """The direction of what a call returns, or of one item of it: by its name, else by the script's own function."""
        function = node.func
        name = function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
        if item is None and name in THROUGH:
            module = isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and node.args
            if isinstance(function, ast.Attribute) and not module:
                return self.of(function.value, scope, depth)
            return self.of(node.args[0], scope, depth) if node.args else 0
        if item is None and direction(name):
            return direction(name)
        own = [n for n in ast.walk(self.tree) if isinstance(n, ast.FunctionDef) and n.name == name]
        if len(own) != 1:
            return 0
        values = [n.value for n in ast.walk(own[0]) if isinstance(n, ast.Return) and n.value is not None]
        return _agreed([self._part(v, item, own[0], depth - 1) for v in values])

    def _part(self, value: ast.expr, item: int | None, scope: ast.AST, depth: int) -> int:
        if item is None:
            return self.of(value, scope, depth)
        if isinstance(value, ast.Tuple | ast.List) and item < len(value.elts):
            return self.of(value.elts[item], scope, depth)
        return self._called(value, item, scope, depth) if isinstance(value, ast.Call) else 0

    def _assigned(self, name: str, scope: ast.AST, depth: int) -> int:
        """The direction of what a name stands for, by all its assignments in the function but those of constants."""
        found = []
        for node in ast.walk(scope):
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
                found.append(self.of(node.value, scope, depth) if isinstance(node.op, ast.Add) else 0)
            for target in node.targets if isinstance(node, ast.Assign) else []:
                assert isinstance(node, ast.Assign)
                if isinstance(target, ast.Name) and target.id == name and not isinstance(node.value, ast.Constant):
                    found.append(self.of(node.value, scope, depth))
                elif isinstance(target, ast.Tuple):
                    places = [i for i, t in enumerate(target.elts) if isinstance(t, ast.Name) and t.id == name]
                    pair = not all(isinstance(v, ast.Constant) for v in getattr(node.value, "elts", [node.value]))
                    found += [self._part(node.value, i, scope, depth) for i in places if pair]
        return _agreed(found)


def _agreed(found: list[int]) -> int:
    return found[0] if found and all(f == found[0] for f in found) else 0
