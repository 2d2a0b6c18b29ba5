"""Checks of what the data hold, on small real loops: the fault is found in other styles too, look-alikes are not reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits, load_sample_images, load_wine
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from trainrecipe.capture import subjects
from trainrecipe.capture.listen.listener import Listener
from trainrecipe.checks.data.broken_examples import BrokenExamples
from trainrecipe.checks.data.channel_order import ChannelOrder
from trainrecipe.checks.data.class_map_differs import ClassMapDiffers
from trainrecipe.checks.data.conflicting_labels import ConflictingLabels
from trainrecipe.checks.data.inputs_and_labels_unrelated import InputsAndLabelsUnrelated
from trainrecipe.checks.data.integer_truncation import IntegerTruncation
from trainrecipe.checks.data.padding_share import PaddingShare
from trainrecipe.checks.data.preprocessing_differs import PreprocessingDiffers
from trainrecipe.checks.data.regression_on_classes import RegressionOnClasses
from trainrecipe.checks.data.statistics_from_evaluation import StatisticsFromEvaluation
from trainrecipe.checks.data.target_in_features import TargetInFeatures
from trainrecipe.checks.data.unused_classes import UnusedClasses
from trainrecipe.checks.data.upscaled_inputs import UpscaledInputs
from trainrecipe.checks.data.window_leakage import WindowLeakage
from trainrecipe.checks.step.inputs_off_centre import InputsOffCentre
from trainrecipe.checks.step.target_scale import TargetScale
from trainrecipe.exam import ask
from trainrecipe.finding import Finding, Severity, Verdict
from trainrecipe.subjects import contents
from trainrecipe.subjects.data import Data
from trainrecipe.subjects.features import grid_of
from trainrecipe.subjects.step import Step

DIGITS = load_digits()
X = torch.tensor(DIGITS.data, dtype=torch.float32) / 16
Y = torch.tensor(DIGITS.target)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def seen(loop: Callable[[], Any]) -> Data:
    listener = Listener(detail_always=True)
    listener.install()
    try:
        loop()
    finally:
        listener.remove()
    assert not listener.trouble
    return subjects.data(listener, may_read=True)


def answers(check: Any, subject: Any) -> list[Finding]:
    found = list(ask(check, subject))
    assert not any("itself failed" in f.ruling.says for f in found), [f.ruling.says for f in found]
    return found


def loud(check: Any, subject: Any, floor: Severity = Severity.WARNING) -> bool:
    return any(f.counts(floor) for f in answers(check, subject))


def sets(x: torch.Tensor, y: torch.Tensor, cut: int) -> tuple[TensorDataset, TensorDataset]:
    return TensorDataset(x[:cut], y[:cut]), TensorDataset(x[cut:], y[cut:])


def fit(
    train: Any,
    valid: Any = None,
    *,
    net: nn.Module | None = None,
    loss: Callable[..., torch.Tensor] = F.cross_entropy,
    change: Callable[..., Any] = lambda x, y: (x, y),
    epochs: int = 2,
    batches: int = 8,
) -> Callable[[], None]:
    """A training with loaders; `change` is applied to training batches."""

    def loop() -> None:
        first = next(iter(DataLoader(train, 2)))[0]
        model = net or nn.Sequential(nn.Flatten(), nn.Linear(first[0].numel(), 10))
        loader = DataLoader(train, 32, shuffle=True)
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        for _ in range(epochs):
            for n, batch in enumerate(loader):
                if n == batches:
                    break
                x, y = change(*batch)
                optimizer.zero_grad()
                loss(model(x), y).backward()
                optimizer.step()
            if valid is not None:
                with torch.no_grad():
                    for x, _ in DataLoader(valid, 64):
                        model(x)

    return loop


def by_hand(
    x: torch.Tensor, y: torch.Tensor, cut: int, net: nn.Module, loss: Callable[..., torch.Tensor]
) -> Callable[[], None]:
    """A training with batches cut by hand, and an evaluation that compares predictions with labels."""

    def loop() -> None:
        optimizer = torch.optim.SGD(net.parameters(), 0.01)
        for _ in range(3):
            for rows in torch.randperm(cut).split(64):
                optimizer.zero_grad()
                loss(net(x[rows]), y[rows]).backward()
                optimizer.step()
            with torch.no_grad():
                (net(x[cut:]).argmax(1) == y[cut:]).float().mean()

    return loop


def regression(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.mse_loss(out.squeeze(1), y)


# ---- what is fed


def test_a_table_is_completed_from_the_data_set_with_its_labels() -> None:
    data = seen(fit(*sets(X, Y, 1400)))
    table = contents.training(data)
    assert table is not None
    assert table.complete
    assert table.rows == 1400
    assert table.seen <= 512
    known = {h: float(y) for h, y in zip(contents.hashes(X), Y, strict=True)}
    assert table.y is not None
    assert all(known[h] == float(y) for h, y in zip(contents.hashes(table.x), table.y, strict=True))
    (other,) = contents.evaluations(data)
    assert other.rows == 397
    assert other.classes == list(range(10))


def test_inputs_that_are_changed_on_the_way_are_kept_as_fed() -> None:
    data = seen(fit(*sets(X, Y, 1400), change=lambda x, y: (x + 0.1 * torch.randn_like(x), y)))
    table = contents.training(data)
    assert table is not None
    assert not table.complete
    assert table.repeats == 0
    assert table.rows == table.seen == 512


def test_labels_of_evaluation_without_a_loader_are_heard() -> None:
    (table,) = contents.evaluations(seen(by_hand(X, Y, 1400, nn.Linear(64, 10), F.cross_entropy)))
    assert table.y is not None
    assert torch.equal(table.y, Y[1400:].double())


def test_grids_are_recognised() -> None:
    steps = torch.randint(0, 17, (500,))
    found = grid_of(steps / 16 * 3 - 1)
    assert found is not None
    assert found[2] == 16
    assert found[1] == pytest.approx(3 / 16, rel=1e-4)
    assert grid_of(torch.randn(500)) is None


# ---- preprocessing-differs


def test_one_split_without_normalisation_is_found() -> None:
    data = seen(fit(TensorDataset((X[:1400] - 0.3) / 0.4, Y[:1400]), TensorDataset(X[1400:], Y[1400:])))
    assert loud(PreprocessingDiffers(), data)


def test_scaling_in_the_training_loop_only_is_found() -> None:
    images = TensorDataset(X[:1400] * 16, Y[:1400]), TensorDataset(X[1400:] * 16, Y[1400:])
    assert loud(PreprocessingDiffers(), seen(fit(*images, change=lambda x, y: (x / 16, y))))


def test_a_scaler_that_evaluation_misses_is_found_in_tables() -> None:
    wine = load_wine()
    raw = torch.tensor(wine.data, dtype=torch.float32)
    order = torch.randperm(len(raw))
    x, y = raw[order], torch.tensor(wine.target)[order]
    scaled = torch.cat([(x[:120] - x[:120].mean(0)) / x[:120].std(0), x[120:]])
    assert loud(PreprocessingDiffers(), seen(fit(*sets(scaled, y, 120))))


def test_augmentation_noise_and_trends_are_no_other_preprocessing() -> None:
    def jitter(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x * (0.2 + 2 * torch.rand(len(x), 1)) + 0.5 * torch.rand(len(x), 1), y

    def noise(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x + 5 * torch.randn_like(x), y

    for change in (jitter, noise):
        assert not loud(PreprocessingDiffers(), seen(fit(*sets(X, Y, 1400), change=change)))
    growth = torch.exp(torch.arange(500) / 120.0) + torch.rand(500)
    growth = (growth - growth[:400].mean()) / growth[:400].std()
    windows = growth.unfold(0, 16, 1)[:-1]
    loop = fit(*sets(windows, growth[16:], 380), net=nn.Linear(16, 1), loss=regression)
    assert not loud(PreprocessingDiffers(), seen(loop))


def test_a_wider_grid_for_a_plot_is_no_other_preprocessing() -> None:
    def loop() -> None:
        net, x = nn.Linear(1, 1), torch.linspace(-1, 1, 100)[:, None]
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        for _ in range(20):
            optimizer.zero_grad()
            F.mse_loss(net(x), 2 * x).backward()
            optimizer.step()
        with torch.no_grad():
            net(torch.linspace(-4, 4, 100)[:, None])

    assert not loud(PreprocessingDiffers(), seen(loop), Severity.NOTE)


# ---- statistics-from-evaluation


@pytest.mark.parametrize(("fitted", "grade"), [("train", None), ("own", Severity.WARNING), ("all", Severity.NOTE)])
def test_whose_statistics_normalise_the_evaluation_set(fitted: str, grade: Severity | None) -> None:
    raw = torch.randn(400, 6) * torch.arange(1, 7) + 3
    train, valid = raw[:300], raw[300:]
    of = {"train": (train, train), "own": (train, valid), "all": (raw, raw)}[fitted]
    x = torch.cat([(part - s.mean(0)) / s.std(0) for part, s in zip((train, valid), of, strict=True)])
    found = answers(StatisticsFromEvaluation(), seen(fit(*sets(x, torch.randint(0, 10, (400,)), 300))))
    assert [f.severity for f in found] == [grade]


@pytest.mark.parametrize("shape", [(1, 8, 8), (64,), (8, 8)])
def test_examples_normalised_one_by_one_share_no_statistics(shape: tuple[int, ...]) -> None:
    x = (X - X.mean(1, keepdim=True)) / X.std(1, keepdim=True, correction=0)
    data = seen(fit(*sets(x.reshape(-1, *shape), Y, 1400)))
    assert not loud(StatisticsFromEvaluation(), data, Severity.NOTE)


def test_nodes_of_one_graph_are_no_examples() -> None:
    features = torch.randn(400, 6)
    features = (features - features.mean(0)) / features.std(0)
    near, y = torch.rand(400, 400) < 0.02, torch.randint(0, 3, (400,))
    train = torch.randperm(400)[:240]
    layer = nn.Linear(6, 3)

    def loop() -> None:
        optimizer = torch.optim.Adam(layer.parameters())
        for _ in range(6):
            optimizer.zero_grad()
            F.cross_entropy((near.float() @ layer(F.dropout(features, 0.4)))[train], y[train]).backward()
            optimizer.step()
            with torch.no_grad():
                near.float() @ layer(features)

    assert not loud(StatisticsFromEvaluation(), seen(loop), Severity.NOTE)


# ---- class-map-differs


@pytest.mark.parametrize("renamed", [{3: 7, 7: 3}, {k: (k + 4) % 10 for k in range(10)}, {}])
@pytest.mark.parametrize("style", ["loader", "by hand"])
def test_renamed_classes_are_found(renamed: dict[int, int], style: str) -> None:
    y = torch.cat([Y[:1300], torch.tensor([renamed.get(int(v), int(v)) for v in Y[1300:]])])
    loop = fit(*sets(X, y, 1300)) if style == "loader" else by_hand(X, y, 1300, nn.Linear(64, 10), F.cross_entropy)
    (found,) = answers(ClassMapDiffers(), seen(loop))
    assert (found.severity is Severity.WARNING) == bool(renamed)
    assert dict(found.evidence["renamed"]) == renamed


def test_hard_tasks_are_not_taken_for_renamed_classes() -> None:
    x, y = torch.randn(800, 20), torch.randint(0, 4, (800,))
    assert not loud(ClassMapDiffers(), seen(fit(*sets(x, y, 600))), Severity.NOTE)


# ---- inputs-and-labels-unrelated


def test_rows_shuffled_inside_the_batch_are_found() -> None:
    data = seen(fit(*sets(X, Y, 1400), change=lambda x, y: (x[torch.randperm(len(x))], y)))
    (found,) = answers(InputsAndLabelsUnrelated(), data)
    assert found.severity is Severity.ERROR


def test_a_training_set_apart_from_its_labels_is_found_where_evaluation_is_not() -> None:
    y = torch.cat([Y[:1400][torch.randperm(1400)], Y[1400:]])
    assert loud(InputsAndLabelsUnrelated(), seen(fit(*sets(X, y, 1400))))
    swapped = torch.cat([Y[:1400], Y[1400:][torch.randperm(397)]])
    assert loud(InputsAndLabelsUnrelated(), seen(fit(*sets(X, swapped, 1400))))


def test_two_permutations_are_found_by_the_arrays_that_the_script_holds() -> None:
    pictures, names = DIGITS.data, DIGITS.target  # held in this frame, which is the user's here

    def loop() -> None:
        kept = (pictures, names)
        x, y = X[torch.randperm(len(X))], Y[torch.randperm(len(Y))]
        by_hand(x, y, 1400, nn.Linear(64, 10), F.cross_entropy)()
        assert kept

    (found,) = answers(InputsAndLabelsUnrelated(), seen(loop))
    assert found.severity is Severity.WARNING
    assert "arrays" in found.ruling.says


def test_a_table_that_tells_nothing_is_a_note() -> None:
    x, y = torch.randn(1200, 12), torch.randint(0, 5, (1200,))
    (found,) = answers(InputsAndLabelsUnrelated(), seen(fit(*sets(x, y, 900))))
    assert found.severity is Severity.NOTE
    weakly = x[:, 0] + x[:, 1] + 4 * torch.randn(1200)  # neighbours do not tell, a line does
    loop = fit(*sets(x, weakly, 900), net=nn.Linear(12, 1), loss=regression)
    assert not loud(InputsAndLabelsUnrelated(), seen(loop), Severity.NOTE)


@pytest.mark.parametrize("kind", ["plain", "both shuffled", "mixup", "pairs"])
def test_related_and_undecidable_tasks_are_not_reported(kind: str) -> None:
    x, y = X, Y

    def change(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        order = torch.randperm(len(a))
        if kind == "both shuffled":
            return a[order], b[order]
        if kind == "mixup":
            return 0.7 * a + 0.3 * a[order], b
        return a, b

    def pairs(out: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        order = torch.randperm(len(out))
        return ((out - out[order]).square().sum(1) * (b == b[order])).mean()

    data = seen(fit(*sets(x, y, 900), change=change, loss=pairs if kind == "pairs" else F.cross_entropy))
    assert not loud(InputsAndLabelsUnrelated(), data, Severity.NOTE)


# ---- target-in-features


def with_column(extra: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.randn(len(extra), 6), extra], 1)


def test_the_target_among_the_columns_is_found() -> None:
    y = torch.randint(0, 3, (300,))
    for extra in (y[:, None] * 1.7 - 2, F.one_hot(y, 3).float()):
        assert loud(TargetInFeatures(), seen(fit(*sets(with_column(extra), y, 250))))
    target = torch.randn(300)
    loop = fit(*sets(with_column(3 * target[:, None] + 1), target, 250), net=nn.Linear(7, 1), loss=regression)
    assert loud(TargetInFeatures(), seen(loop))


def test_strong_features_toys_and_autoencoders_hold_no_leak() -> None:
    y = torch.randint(0, 3, (300,))
    strong = with_column(y[:, None] + 0.05 * torch.randn(300, 1))
    assert not loud(TargetInFeatures(), seen(fit(*sets(strong, y, 250))), Severity.NOTE)
    x = torch.randn(300, 1)
    toy = fit(*sets(x, 3 * x[:, 0] + 1, 250), net=nn.Linear(1, 1), loss=regression)
    assert not loud(TargetInFeatures(), seen(toy), Severity.NOTE)
    ramp = torch.arange(400) / 400.0
    windows = ramp.unfold(0, 12, 1)[:-1]
    loop = fit(*sets(windows, ramp[12:], 300), net=nn.Linear(12, 1), loss=regression)
    assert not loud(TargetInFeatures(), seen(loop), Severity.NOTE)
    flags = torch.randint(0, 2, (300, 6)).float()
    assert not loud(TargetInFeatures(), seen(fit(*sets(flags, (flags[:, 0] != flags[:, 1]).long(), 250))), Severity.NOTE)


# ---- conflicting-labels, broken-examples, unused-classes


def test_copies_with_other_labels_are_found_and_accidents_are_not() -> None:
    x, y = torch.cat([X[:600], X[:200]]), torch.cat([Y[:600], (Y[:200] + 1) % 10])
    assert loud(ConflictingLabels(), seen(fit(TensorDataset(x, y))))
    agreeing = torch.cat([Y[:600], Y[:200]])
    assert not loud(ConflictingLabels(), seen(fit(TensorDataset(x, agreeing))))
    few = torch.randint(0, 3, (500, 4)).float()
    assert not loud(ConflictingLabels(), seen(fit(TensorDataset(few, torch.randint(0, 3, (500,))))))


def test_missing_numbers_are_found_unless_the_model_replaces_them() -> None:
    x = X.clone()
    x[1300, 5] = float("nan")
    assert loud(BrokenExamples(), seen(fit(TensorDataset(x, Y))))

    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 10)

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return self.layer(given.nan_to_num(0.0))  # type: ignore[no-any-return]

    x[torch.rand_like(x) < 0.05] = float("nan")
    assert not loud(BrokenExamples(), seen(fit(TensorDataset(x, Y), net=Careful())))


def test_blank_pictures_are_found_where_their_labels_differ() -> None:
    x = X.clone()
    x[::3] = 0.0
    assert loud(BrokenExamples(), seen(fit(TensorDataset(x, Y))))
    background = torch.where(torch.arange(len(Y)) % 3 == 0, torch.zeros_like(Y), Y.clamp(min=1))
    assert not loud(BrokenExamples(), seen(fit(TensorDataset(x, background))))


def test_equal_columns_are_a_note() -> None:
    x = torch.randn(200, 5)
    (found,) = answers(BrokenExamples(), seen(fit(TensorDataset(x[:, [0, 1, 2, 3, 4, 2]], torch.randint(0, 3, (200,))))))
    assert found.severity is Severity.NOTE
    assert found.evidence["copies"] == [[2, 5]]


@pytest.mark.parametrize(("first", "outputs", "said"), [(1, 11, True), (0, 10, False), (0, 40, True), (0, 11, False)])
def test_outputs_without_a_class(first: int, outputs: int, said: bool) -> None:
    data = seen(fit(TensorDataset(X, Y + first), net=nn.Linear(64, outputs)))
    assert loud(UnusedClasses(), data, Severity.NOTE) == said
    assert not loud(UnusedClasses(), data)


def test_an_agent_that_acts_differently_in_equal_states_has_no_conflicting_labels() -> None:
    def loop() -> None:
        states, policy = torch.randn(20, 8), nn.Linear(8, 4)
        optimizer = torch.optim.SGD(policy.parameters(), 0.01)
        for _ in range(20):
            seen_states = states[torch.randint(0, 20, (32,))]
            logits = policy(seen_states)
            actions = torch.distributions.Categorical(logits=logits).sample()
            optimizer.zero_grad()
            (F.cross_entropy(logits, actions, reduction="none") * torch.rand(32)).mean().backward()
            optimizer.step()

    assert not loud(ConflictingLabels(), seen(loop), Severity.NOTE)


# ---- channel-order, upscaled-inputs


def patches(count: int, size: int = 16) -> np.ndarray:
    generator = np.random.default_rng(0)
    photo = load_sample_images().images[0]
    corners = generator.integers(0, 390, (count, 2))
    return np.stack([photo[a : a + size, b : b + size] for a, b in corners])


@pytest.mark.parametrize("how", ["reshape", "permute", "noise", "grey"])
def test_reshape_in_place_of_permute_is_found(how: str) -> None:
    raw = torch.from_numpy(patches(120)).float() / 255
    x = {
        "reshape": raw.reshape(-1, 3, 16, 16),
        "permute": raw.permute(0, 3, 1, 2),
        "noise": torch.rand(120, 3, 16, 16),
        "grey": raw.mean(3)[:, None].repeat(1, 3, 1, 1),
    }[how]
    assert loud(ChannelOrder(), seen(fit(TensorDataset(x, torch.randint(0, 10, (120,)))))) == (how == "reshape")


@pytest.mark.parametrize("how", ["reshape", "permute"])
def test_noisy_pictures_that_the_script_holds_with_channels_last_tell_a_reshape(how: str) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (120, 12, 12, 3), dtype=np.uint8)  # noise: no reading is smooth
    x = torch.from_numpy(pictures).float().div(255).sub(0.4).div(0.2)
    x = x.reshape(-1, 3, 12, 12) if how == "reshape" else x.permute(0, 3, 1, 2).contiguous()
    x = (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)

    def loop() -> None:
        assert pictures.shape  # held while it trains, as a script's variables are
        fit(TensorDataset(x, torch.randint(0, 10, (120,))))()

    assert loud(ChannelOrder(), seen(loop)) == (how == "reshape")


@pytest.mark.parametrize(("mode", "factor"), [("nearest", 4), ("nearest", 7), ("bilinear", 8), ("", 1)])
def test_enlarged_pictures_are_noted(mode: str, factor: int) -> None:
    images = X.reshape(-1, 1, 8, 8)[:100]
    x = (
        F.interpolate(images, scale_factor=factor, mode=mode)
        if mode
        else torch.from_numpy(patches(100, 32)).float().permute(0, 3, 1, 2)
    )
    (found,) = answers(UpscaledInputs(), seen(fit(TensorDataset(x, Y[:100]))))
    assert (found.severity is Severity.NOTE) == (factor > 1)
    if factor > 1:
        assert found.evidence["factor"] == factor


# ---- window-leakage


@pytest.mark.parametrize("values", [1, 3])
@pytest.mark.parametrize("split", ["random", "by time", "short validation"])
def test_windows_split_at_random_are_found(split: str, values: int) -> None:
    series = torch.randn(500, values).cumsum(0)
    windows = series.unfold(0, 20, 1)[:-1].mT if values > 1 else series[:, 0].unfold(0, 20, 1)[:-1]
    target = series[20:, 0]
    if split == "random":
        order = torch.randperm(len(windows))
        windows, target = windows[order], target[order]
    cut = len(windows) - (12 if split == "short validation" else 100)
    net = nn.Sequential(nn.Flatten(), nn.Linear(20 * values, 1))
    loop = fit(*sets(windows.contiguous(), target, cut), net=net, loss=regression)
    assert loud(WindowLeakage(), seen(loop)) == (split == "random")


def test_a_series_that_repeats_itself_leaks_nothing() -> None:
    steps = torch.arange(600, dtype=torch.double)
    sine = torch.sin(2 * torch.pi * (steps % 25) / 25).float()
    sine[steps.long() % 97 == 0] += 1e-7
    windows = sine.unfold(0, 20, 1)[:-1].contiguous()
    loop = fit(*sets(windows, sine[20:], 450), net=nn.Linear(20, 1), loss=regression)
    assert not loud(WindowLeakage(), seen(loop), Severity.NOTE)


def test_tables_and_pictures_are_no_overlapping_windows() -> None:
    assert not loud(WindowLeakage(), seen(fit(*sets(X, Y, 1400))), Severity.NOTE)


# ---- integer-truncation


class Cast(Dataset[Any]):
    """Digits that are normalised and cast in `__getitem__`."""

    def __init__(self, kind: Any, divide: float) -> None:
        self.raw, self.labels, self.kind, self.divide = DIGITS.data, DIGITS.target, kind, divide

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> Any:
        return torch.tensor((self.raw[i] / self.divide).astype(self.kind), dtype=torch.float32), int(self.labels[i])


@pytest.mark.parametrize(("kind", "divide", "cut"), [(np.uint8, 16, True), (np.float32, 16, False), (np.uint8, 1, False)])
def test_a_cast_after_normalising_is_found(kind: Any, divide: float, cut: bool) -> None:
    assert loud(IntegerTruncation(), seen(fit(Cast(kind, divide)))) == cut


def test_a_standardised_table_that_is_cast_is_found_by_the_raw_one() -> None:
    wine = load_wine()
    raw = wine.data

    def loop() -> None:
        kept = raw
        x = torch.tensor(((kept - kept.mean(0)) / kept.std(0)).astype(np.int64)).float()
        by_hand(x, torch.tensor(wine.target), 178, nn.Linear(13, 3), F.cross_entropy)()

    assert loud(IntegerTruncation(), seen(loop))


def test_pictures_made_black_and_white_on_purpose_are_not_reported() -> None:
    raw = DIGITS.data

    def loop() -> None:
        x = torch.tensor((raw > 8).astype(np.float32))
        by_hand(x, Y, 1400, nn.Linear(64, 10), F.cross_entropy)()

    assert not loud(IntegerTruncation(), seen(loop), Severity.NOTE)


# ---- padding-share, regression-on-classes


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(100, 8), nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(x).mean(1))  # type: ignore[no-any-return]


def test_padding_and_unknown_words() -> None:
    x, y = torch.randint(2, 100, (400, 20)), torch.randint(0, 10, (400,))
    assert not loud(PaddingShare(), seen(fit(*sets(x, y, 300), net=Words())), Severity.NOTE)
    padded = torch.cat([x[:, :3], torch.zeros(400, 17, dtype=torch.long)], 1)
    assert loud(PaddingShare(), seen(fit(*sets(padded, y, 300), net=Words())), Severity.NOTE)
    other = x.clone()
    other[300:] = torch.where(torch.rand(100, 20) < 0.8, 1, other[300:])
    assert loud(PaddingShare(), seen(fit(*sets(other, y, 300), net=Words())))


def test_padding_of_the_evaluation_alone_is_no_unknown_word() -> None:
    x, y = torch.randint(2, 100, (400, 20)), torch.randint(0, 10, (400,))
    lengths = torch.randint(3, 12, (100, 1))  # training batches are put together by length, evaluation is one batch of all
    x[300:] = torch.where(torch.arange(20) < lengths, x[300:], 0)
    assert not loud(PaddingShare(), seen(fit(*sets(x, y, 300), net=Words())))


def test_class_numbers_under_a_regression_loss_are_noted_and_grades_are_not() -> None:
    net = nn.Linear(64, 1)
    data = seen(fit(TensorDataset(X, Y.float()), net=net, loss=regression))
    assert loud(RegressionOnClasses(), data, Severity.NOTE)
    x = torch.randn(600, 8)
    grades = (x.sum(1) / 2).round().clamp(-3, 3) + 3
    data = seen(fit(TensorDataset(x, grades), net=nn.Linear(8, 1), loss=regression, epochs=3, batches=99))
    assert not loud(RegressionOnClasses(), data, Severity.NOTE)


# ---- experiments on the step


def step(x: torch.Tensor, y: torch.Tensor, net: nn.Module, loss: Callable[..., torch.Tensor], lr: float = 1e-3) -> Step:
    return Step(net, (x, y), lambda m, batch: loss(m(batch[0]), batch[1]), torch.optim.Adam(net.parameters(), lr))


def regressor() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 1))


@pytest.mark.parametrize("scale", [1e5, 1e-4, 1.0])
@pytest.mark.parametrize("loss", [F.mse_loss, F.l1_loss])
def test_targets_far_from_unit_scale_are_found(scale: float, loss: Callable[..., torch.Tensor]) -> None:
    x = torch.randn(64, 5)
    y = (x[:, :1] + x[:, 1:2] ** 2) * scale
    assert loud(TargetScale(), step(x, y, regressor(), loss, 1e-2)) == (scale != 1.0)


def test_large_targets_that_the_optimiser_reaches_are_not_reported() -> None:
    x = torch.randn(64, 5)
    net = nn.Linear(5, 1)
    given = Step(net, (x, x[:, :1] * 1000), lambda m, b: F.mse_loss(m(b[0]), b[1]), torch.optim.SGD(net.parameters(), 0.1))
    (found,) = answers(TargetScale(), given)
    assert found.verdict is Verdict.PASS


def test_inputs_squeezed_far_from_zero_are_found_if_the_net_suffers() -> None:
    def net(*first: nn.Module) -> nn.Module:
        return nn.Sequential(*first, nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    squeezed = X[:64] * 0.05 - 2
    assert loud(InputsOffCentre(), step(squeezed, Y[:64], net(), F.cross_entropy, 3e-3))
    assert not loud(InputsOffCentre(), step(squeezed, Y[:64], net(nn.BatchNorm1d(64)), F.cross_entropy, 3e-3))
    assert not loud(InputsOffCentre(), step(X[:64], Y[:64], net(), F.cross_entropy, 3e-3), Severity.NOTE)


def test_evidence_is_drawn() -> None:
    data = seen(fit(TensorDataset((X[:1400] - 0.3) / 0.4, Y[:1400]), TensorDataset(X[1400:], Y[1400:])))
    for check in (PreprocessingDiffers(), InputsAndLabelsUnrelated(), ClassMapDiffers(), WindowLeakage()):
        for found in answers(check, data):
            assert found.picture is None or found.picture.to_json()
