"""Evaluating an expression of the user's source in a frame, without calling any of their code."""

from __future__ import annotations

import ast
import builtins
import inspect
import math
import types
from types import FrameType
from typing import Any

_WRAPPERS = frozenset({"enumerate", "reversed", "list", "tuple", "iter", "sorted"})
_PROGRESS = ("tqdm", "rich", "fastprogress", "alive_progress", "progressbar")
_PURE = {"range": range, "len": len, "int": int, "float": float, "max": max, "min": min, "round": round, "abs": abs}


class Unknown(Exception):
    """An expression that cannot be evaluated without running the user's code."""


def evaluate(node: ast.expr, frame: FrameType) -> Any:
    """The value of a simple expression in a frame: names, plain attributes, items, arithmetic, `range`, `len`.

    Raises Unknown for anything that would run code of the user's.
    """
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return _name(name, frame)
        case ast.Attribute(value=owner, attr=attr):
            return attribute(evaluate(owner, frame), attr)
        case ast.Subscript(value=owner, slice=index):
            return _item(evaluate(owner, frame), evaluate(index, frame))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(evaluate(operand, frame))
        case ast.BinOp(left=left, op=operator, right=right):
            return _arithmetic(operator, _number(evaluate(left, frame)), _number(evaluate(right, frame)))
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [None] * len(items) if not any(isinstance(i, ast.Starred) for i in items) else _unknown()
        case ast.Call():
            return _call(node, frame)
    raise Unknown


def _unknown() -> Any:
    raise Unknown


def _name(name: str, frame: FrameType) -> Any:
    for scope in (frame.f_locals, frame.f_globals):
        if name in scope:
            return scope[name]
    if hasattr(builtins, name):
        return getattr(builtins, name)
    raise Unknown


def attribute(owner: Any, name: str) -> Any:
    """`owner.name` where that runs no property; raises Unknown otherwise."""
    try:
        found = inspect.getattr_static(owner, name)
    except AttributeError:
        modules = getattr(owner, "__dict__", {}).get("_modules", {})
        if isinstance(modules, dict) and name in modules:
            return modules[name]
        raise Unknown from None
    if isinstance(found, types.MemberDescriptorType):
        return found.__get__(owner)
    if isinstance(found, property) or (hasattr(type(found), "__get__") and not isinstance(found, types.FunctionType)):
        raise Unknown
    return found


def _item(owner: Any, key: Any) -> Any:
    if type(owner) in (dict, list, tuple):
        try:
            return owner[key]
        except (KeyError, IndexError, TypeError):
            raise Unknown from None
    raise Unknown


def _number(value: Any) -> Any:
    if not is_number(value):
        raise Unknown
    return value


_OPERATORS: dict[type, Any] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
    ast.Pow: lambda a, b: a**b if abs(a) <= 10**6 and abs(b) <= 64 else _unknown(),
}


def _arithmetic(operator: ast.operator, left: Any, right: Any) -> Any:
    try:
        return _OPERATORS[type(operator)](left, right)
    except (KeyError, ZeroDivisionError):
        raise Unknown from None


def _call(node: ast.Call, frame: FrameType) -> Any:
    if node.keywords:
        raise Unknown
    function = evaluate(node.func, frame)
    if isinstance(node.func, ast.Attribute) and function not in (math.ceil, math.floor):
        raise Unknown
    known = function in (math.ceil, math.floor) or any(function is f for f in _PURE.values())
    if not known:
        raise Unknown
    if function is len:
        return length(node.args[0], frame)
    arguments = [evaluate(a, frame) for a in node.args]
    for argument in arguments:
        _number(argument)
    return function(*arguments)


def length(node: ast.expr, frame: FrameType) -> int:
    """How many items iterating over an expression gives; raises Unknown."""
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        own = name in _WRAPPERS and evaluate(node.func, frame) is getattr(builtins, name)
        if own or _shows_progress(node.func, frame):
            called = name or (node.func.attr if isinstance(node.func, ast.Attribute) else "")
            if called == "trange":
                return len(range(*[evaluate(a, frame) for a in node.args]))
            return length(node.args[0], frame)
        if name == "zip":
            return min(length(a, frame) for a in node.args)
    value = evaluate(node, frame)
    if isinstance(value, types.GeneratorType) or not hasattr(type(value), "__len__"):
        raise Unknown
    return len(value)


def _shows_progress(function: ast.expr, frame: FrameType) -> bool:
    try:
        value = evaluate(function, frame)
    except Unknown:
        return False
    return str(getattr(value, "__module__", "")).partition(".")[0] in _PROGRESS


def is_number(value: Any) -> bool:
    """Whether a value is an int or a float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)
