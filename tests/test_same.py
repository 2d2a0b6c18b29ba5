"""`same`: a rewrite that agrees passes, every way of being different is named, and nothing is left behind."""

from __future__ import annotations

import pytest
import torch

import trainrecipe
from trainrecipe import Different, same


def distances_by_loops(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    rows = [torch.stack([(a - b).square().sum() for b in y]) for a in x]
    return torch.stack(rows)


def distances(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x[:, None] - y[None]).square().sum(-1)


def masked_mean_by_loops(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    out = []
    for row, keep in zip(x, mask, strict=True):
        chosen = [v for v, k in zip(row, keep, strict=True) if k]
        out.append(torch.stack(chosen).mean(0) if chosen else torch.zeros(x.shape[-1], dtype=x.dtype))
    return torch.stack(out)


def masked_mean(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def test_a_right_rewrite_passes_and_says_what_was_compared() -> None:
    found = same(distances_by_loops, distances, "n d", "m d")
    assert found.cases > 15
    assert found.refused >= 1  # the loop cannot stack nothing
    assert found.value < 1e-12
    assert found.gradient < 1e-12
    assert "same in" in str(found)
    assert same(masked_mean_by_loops, masked_mean, "b t d", "b t: bool").cases > 10


def test_the_front_door_gives_the_function_again_and_again() -> None:
    assert trainrecipe.same is trainrecipe.same
    assert callable(trainrecipe.same)


def test_a_wrong_value_is_shown_with_shape_element_and_both_values() -> None:
    def wrong(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return (x * mask[..., None]).mean(1)

    with pytest.raises(Different) as caught:
        same(masked_mean_by_loops, wrong, "b t d", "b t: bool")
    text = str(caught.value)
    assert 'argument 0 "b t d" = (' in text
    assert "elements differ" in text
    assert "at [" in text


def test_a_swapped_axis_is_found_though_sizes_could_agree() -> None:
    with pytest.raises(Different, match="another shape"):
        same(lambda x: x.sum(0), lambda x: x.sum(1), "a b")


def test_a_view_that_scrambles_is_found() -> None:
    with pytest.raises(Different, match="is different"):
        same(lambda x: x.transpose(1, 2), lambda x: x.reshape(x.shape[0], x.shape[2], x.shape[1]), "b t d")


def test_a_wrong_gradient_with_right_values_is_found() -> None:
    def halved(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x.square() + 0.5 * x.detach().square()

    with pytest.raises(Different, match="gradient of argument"):
        same(lambda x: x.square(), halved, "n")
    assert same(lambda x: x.square(), halved, "n", gradients=False).cases > 5


def test_no_gradient_at_all_is_a_wrong_gradient_unless_the_loop_has_none_either() -> None:
    with pytest.raises(Different, match="gradient of argument"):
        same(lambda x: x.square().sum(), lambda x: x.detach().square().sum(), "n")
    same(lambda x: float(sum(float(v) ** 2 for v in x)), lambda x: x.square().sum().double(), "n")


def test_it_tries_one_and_none_of_each_size() -> None:
    with pytest.raises(Different, match="another shape"):  # squeeze takes away the batch of one as well
        same(lambda x: x[..., 0], lambda x: x[..., :1].squeeze(), "b d")
    with pytest.raises(Different, match="fails where"):
        same(lambda x: x.sum(1), lambda x: x.mean(1) * x.shape[1] if x.shape[0] else 1 / 0, "b d")


def test_it_tries_other_memory_layouts() -> None:
    with pytest.raises(Different, match="fails where"):
        same(lambda x: x.reshape(-1), lambda x: x.view(-1), "a b")


def test_writing_to_an_argument_is_found() -> None:
    with pytest.raises(Different, match="argument, after the call"):
        same(lambda x: x * 2, lambda x: x.mul_(2), "n")


def test_another_dtype_and_another_number_of_results_are_found() -> None:
    with pytest.raises(Different, match="another dtype"):
        same(lambda x: x, lambda x: x.float(), "n")
    with pytest.raises(Different, match="return 2 and 1"):
        same(lambda x: (x, x), lambda x: x, "n")


def test_indices_stay_below_a_named_size() -> None:
    def loop(table: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.stack([table[int(i)] for i in row]) for row in at])

    assert same(loop, lambda table, at: table[at], "v d", "b t: int v").cases > 10


def test_samples_numbers_and_random_draws_are_given_alike_to_both() -> None:
    weight = torch.randn(3, 3)
    kept = weight.clone()
    same(lambda x, w: x.float() @ w + torch.rand(3), lambda x, w: torch.addmm(torch.rand(3), x.float(), w), "b 3", weight,
         tolerance=1e-5)  # fmt: skip
    assert torch.equal(weight, kept)


def test_sizes_can_be_fixed_or_bounded() -> None:
    seen: set[tuple[int, ...]] = set()

    def note(x: torch.Tensor) -> torch.Tensor:
        seen.add(tuple(x.shape))
        return x

    same(note, lambda x: x, "b 3 d", sizes={"d": 8, "b": (2, 4)})
    assert {s[1:] for s in seen} == {(3, 8)}
    assert {s[0] for s in seen} <= {2, 3, 4}


@pytest.mark.parametrize(
    ("pattern", "said"),
    [("b,t", "'b,t'"), ("b t: whole", "whole"), ("b: int", "int n"), ("b*", "'b*'"), ("b t:", "after the colon")],
)
def test_a_pattern_that_cannot_be_read_is_refused_in_the_users_own_words(pattern: str, said: str) -> None:
    with pytest.raises(ValueError, match="same: in") as caught:
        same(torch.neg, torch.neg, pattern)
    assert said in str(caught.value)


def test_a_size_that_no_pattern_has_and_a_loop_that_always_fails_are_refused() -> None:
    with pytest.raises(ValueError, match="sizes names k"):
        same(torch.neg, torch.neg, "b t", sizes={"k": 3})
    with pytest.raises(ValueError, match="itself fails in all"):
        same(lambda x: 1 / 0, torch.neg, "b t")


def test_it_is_deterministic_and_leaves_the_random_streams_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = same(distances_by_loops, distances, "n d", "m d", seed=5)
    assert torch.equal(before, torch.get_rng_state())
    assert first == same(distances_by_loops, distances, "n d", "m d", seed=5)


def test_functions_without_tensors_in_their_results_that_are_not_finite() -> None:
    same(lambda x: x.log(), lambda x: torch.log(x), "n d", gradients=False)  # NaN where NaN, -inf where -inf
