"""Another dropout rate for the layers that drop out."""

from __future__ import annotations

from typing import Any

from trainrecipe.intervene.intervention import Effect, Intervention, Put


class Dropout(Intervention):
    """`dropout=0.3` for every dropout layer and every call of `F.dropout`; `dropout=off` is 0."""

    name = "dropout"
    example = "dropout=0.3 or dropout=off"
    about = "the rate of every dropout layer and of F.dropout; attention and recurrent layers keep their own"

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.wanted = 0.0 if value == "off" else self.number(0.0, 0.999)
        self.changed: dict[str, int] = {}
        self.same = False

    def install(self, put: Put) -> None:
        """Change the rate of layers as they are built, and of calls by the script."""
        import torch.nn.functional as F
        from torch.nn.modules import dropout

        put(dropout._DropoutNd, "__init__", self._wrap_layer)
        for name in ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"):
            put(F, name, self._wrap_call)

    def _wrap_layer(self, original: Any) -> Any:
        def __init__(layer: Any, *args: Any, **kwargs: Any) -> None:
            original(layer, *args, **kwargs)
            self._note(type(layer).__name__, layer.p)
            layer.p = self.wanted  # whatever it was

        return __init__

    def _wrap_call(self, original: Any) -> Any:
        def dropout(input: Any, p: float = 0.5, *args: Any, **kwargs: Any) -> Any:
            self._note(f"F.{original.__name__}", p)
            return original(input, self.wanted, *args, **kwargs)

        return dropout

    def _note(self, what: str, old: float) -> None:
        self.same |= old == self.wanted
        if old == self.wanted:
            return
        key = f"{what} from {old:g} to {self.wanted:g}"
        self.changed[key] = self.changed.get(key, 0) + 1

    def effect(self) -> Effect:
        """Which layers were changed."""
        if not self.changed and self.same:
            return Effect(False, f"it is {self.wanted:g} already")
        if not self.changed:
            return Effect(False, "the script has no dropout layer, and calls no dropout")
        return Effect(True, "; ".join(f"{n} × {what}" if n > 1 else what for what, n in self.changed.items()))
