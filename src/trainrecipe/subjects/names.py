"""Names of operations by what they do, as recorded operations carry them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainrecipe.capture.tape import Op
    from trainrecipe.capture.watch import Seen

RESHAPING = frozenset(
    {
        "view",
        "reshape",
        "squeeze",
        "unsqueeze",
        "flatten",
        "transpose",
        "permute",
        "swapaxes",
        "t",
        "T.get",
        "mT.get",
        "contiguous",
        "clone",
        "__getitem__",
        "select",
        "narrow",
        "index_select",
        "gather",
        "masked_select",
        "to",
        "float",
        "double",
        "half",
        "bfloat16",
        "type",
        "expand",
        "movedim",
        "cat",
        "concat",
        "stack",
        "chunk",
        "split",
        "unbind",
        "unflatten",
        "view_as",
        "reshape_as",
        "cpu",
        "cuda",
    }
)
"""Operations that move or convert values without computing anything from them."""
JOINING = frozenset({"cat", "concat", "stack"})
"""Operations that put several values side by side."""
PRESERVING = (RESHAPING - JOINING) | frozenset(
    {
        *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d", "amax"),
        *("amin", "avg_pool1d", "avg_pool2d", "avg_pool3d", "data.get", "detach", "expand_as", "flip", "max"),
        *("max_pool1d", "max_pool2d", "max_pool3d", "mean", "median", "min", "nan_to_num", "repeat", "roll"),
        *("take_along_dim", "type_as"),
    }
)
"""Operations whose results lie between the smallest and the largest of their one operand."""
SOFTMAX = frozenset({"softmax", "log_softmax", "softmin", "gumbel_softmax", "special_softmax", "special_log_softmax"})
"""Functions that normalise along one axis."""
LAYERS = frozenset(
    {"linear", "bilinear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
)
"""Functions that apply weights."""
CREATION = frozenset(
    {
        "arange",
        "linspace",
        "logspace",
        "zeros",
        "ones",
        "full",
        "eye",
        "tensor",
        "empty",
        "range",
        "as_tensor",
        "new_tensor",
    }
)
"""Functions that make a tensor out of numbers."""
SIGMOIDS = frozenset({"sigmoid", "expit", "special_expit", "hardsigmoid"})
SQUASHING = SIGMOIDS | {"softmax", "special_softmax", "softmin", "gumbel_softmax"}
"""Functions whose results are probabilities."""


def plain_name(op: Op | Seen) -> str:
    """An operation's name without the marks of operators and of writing in place: `__iadd__` and `add_` are `add`."""
    if op.name.startswith("__"):
        bare = op.name.strip("_")
        return bare[1:] if bare in ("iadd", "isub", "imul", "itruediv", "idiv", "ipow") else bare
    return op.name.rstrip("_")


UNIFORM = frozenset({"rand", "rand_like", "uniform_"})
GAUSSIAN = frozenset({"randn", "randn_like", "normal", "normal_", "_standard_normal", "rsample"})
"""Functions that draw noise."""

PICKS_ROWS = frozenset({"__getitem__", "index_select"})
"""Operations that pick rows of a tensor by their numbers."""
