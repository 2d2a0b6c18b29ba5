"""What a module holds is read without calling methods that a user may have overridden."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from trainrecipe.capture import members


def _net() -> nn.Module:
    shared = nn.Linear(4, 4)
    net = nn.Sequential(nn.Sequential(shared, nn.BatchNorm1d(4)), shared, nn.Linear(4, 4, bias=False))
    net[2].weight = shared.weight
    net.register_module("nothing", None)
    return net


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("kind", ["named_modules", "named_parameters", "named_buffers"])
def test_they_are_those_of_pytorch(kind: str, once: bool) -> None:
    net = _net()
    theirs = list(getattr(net, kind)(remove_duplicate=once))
    mine = list(getattr(members, kind)(net, remove_duplicate=once))
    assert [n for n, _ in mine] == [n for n, _ in theirs]
    assert all(a is b for (_, a), (_, b) in zip(mine, theirs, strict=True))
    assert list(members.children(net)) == list(net.children())


class _Own(nn.Module):
    """As in programs for meta-learning: `parameters()` is the list itself, and `modules` an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.vars = nn.ParameterList([nn.Parameter(torch.zeros(2)), nn.Parameter(torch.ones(3))])

    def parameters(self, recurse: bool = True) -> Any:
        return self.vars

    def named_modules(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("not to be called")


def test_methods_of_the_users_are_not_called() -> None:
    net = nn.Sequential(_Own(), nn.Linear(2, 2))
    assert [n for n, _ in members.named_parameters(net)] == ["0.vars.0", "0.vars.1", "1.weight", "1.bias"]
    assert len(list(members.modules(net))) == 4


def test_a_module_that_holds_itself_ends() -> None:
    net = _Own()
    net._modules["again"] = net
    assert [n for n, _ in members.named_parameters(net, remove_duplicate=False)] == ["vars.0", "vars.1"]
