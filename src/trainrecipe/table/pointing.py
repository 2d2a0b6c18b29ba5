"""What a message about an expression shows: the expression about the spot, a mark under it, and what was probably meant."""

from __future__ import annotations

_AROUND = 60
"""Characters before the spot, and after it, that are shown."""
_HABITS = {
    "&&": "and",
    "||": "or",
    "!": "not",
    "<>": "!=",
    " = ": "==",
    " between ": "between(x, low, high)",
    " is null": "isnull(x)",
    " like ": "contains(text, 'x')",
}
"""What people write who know other languages, and how it is written here."""


def pointed(message: str, expression: str, start: int, end: int) -> str:
    """The message, the expression about the spot, and a line that marks it. What would move the cursor is shown as a blank."""
    first = max(start - _AROUND, 0)
    shown = "".join(c if c.isprintable() else " " for c in expression[first : first + 2 * _AROUND])
    marks = "^" * max(min(end - start, len(shown) - (start - first)), 1)
    return f"{message}\n    {shown}\n    {' ' * (start - first)}{marks}"


def advice(reason: str, expression: str) -> str:
    """What Python says of a syntax error, and what people of other languages probably meant."""
    plain = expression.replace("!=", "").lower()
    meant = next((f"; for {habit.strip()!r} write {ours}" for habit, ours in _HABITS.items() if habit in plain), "")
    return f"the expression cannot be read: {reason}{meant}"
