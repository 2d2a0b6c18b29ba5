"""What a module holds: its parameters, buffers and submodules, read off the tables that `nn.Module` keeps.

A class of the user's may override `parameters()` or `modules()`, give something else, or change something: many programs for
meta-learning return a `ParameterList`. Asking these methods would run the user's code, and could fail inside their program.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn


def named_modules(module: nn.Module, remove_duplicate: bool = True) -> Iterator[tuple[str, nn.Module]]:
    """Every module with its path, the given one first with an empty path; each once, or once per path."""
    seen: set[int] = set()
    yield from _named(module, "", seen, remove_duplicate, frozenset())


def _named(
    module: nn.Module, prefix: str, seen: set[int], once: bool, around: frozenset[int]
) -> Iterator[tuple[str, nn.Module]]:
    if (once and id(module) in seen) or id(module) in around:
        return
    seen.add(id(module))
    yield prefix, module
    inside = around | {id(module)}
    for name, child in module._modules.items():
        if child is not None:
            yield from _named(child, f"{prefix}.{name}" if prefix else name, seen, once, inside)


def modules(module: nn.Module) -> Iterator[nn.Module]:
    """Every module, the given one first, each once."""
    return (m for _, m in named_modules(module))


def children(module: nn.Module) -> Iterator[nn.Module]:
    """The modules directly below, each once."""
    return iter({id(c): c for c in module._modules.values() if c is not None}.values())


def named_parameters(module: nn.Module, remove_duplicate: bool = True) -> Iterator[tuple[str, nn.Parameter]]:
    """Every parameter with its path; each once, or once per path."""
    seen: set[int] = set()
    for path, holder in named_modules(module, remove_duplicate):
        for name, parameter in holder._parameters.items():
            if parameter is not None and not (remove_duplicate and id(parameter) in seen):
                seen.add(id(parameter))
                yield f"{path}.{name}" if path else name, parameter


def parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    """Every parameter, each once."""
    return (p for _, p in named_parameters(module))


def named_buffers(module: nn.Module, remove_duplicate: bool = True) -> Iterator[tuple[str, torch.Tensor]]:
    """Every buffer with its path; each once, or once per path."""
    seen: set[int] = set()
    for path, holder in named_modules(module, remove_duplicate):
        for name, buffer in holder._buffers.items():
            if buffer is not None and not (remove_duplicate and id(buffer) in seen):
                seen.add(id(buffer))
                yield f"{path}.{name}" if path else name, buffer


def buffers(module: nn.Module) -> Iterator[torch.Tensor]:
    """Every buffer, each once."""
    return (b for _, b in named_buffers(module))
