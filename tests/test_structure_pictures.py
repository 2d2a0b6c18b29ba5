"""The pictures of a model: its table of layers, its first layer, what outputs depend on, and predictions along a run."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from samples import record
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trainrecipe.capture import anatomy, imagery, overview
from trainrecipe.capture.listen.listener import Listener
from trainrecipe.picture import Picture, table
from trainrecipe.subjects.dynamics import LOOKS, Dynamics, Look
from trainrecipe.subjects.step import Step
from trainrecipe.subjects.structure import Layer, Values, folded, structure, whole
from trainrecipe.testing import Final
from trainrecipe.view import report, terminal

Loss = Callable[[nn.Module, Any], torch.Tensor]


def classify(model: nn.Module, batch: Any) -> torch.Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def step_of(model: nn.Module, batch: Any, loss: Loss = classify) -> Step:
    return Step(model, batch, loss)


def batch_of(*shape: int, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(shape), torch.arange(shape[0]) % classes


def every(layers: list[Layer]) -> dict[str, Layer]:
    """Layers by their full name."""
    found: dict[str, Layer] = {}

    def walk(layer: Layer, above: str) -> None:
        name = f"{above}.{layer.name}" if above else layer.name
        found[name] = layer
        for child in layer.children:
            walk(child, name)

    for layer in layers:
        walk(layer, "")
    return found


# ---- the table of layers


def conv_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
        nn.ReLU(),
        nn.Linear(10, 3),
    )


def test_layers_hold_and_cost_what_they_do() -> None:
    model, batch = conv_net(), batch_of(12, 1, 8, 8)
    (root,) = structure(step_of(model, batch))
    assert [(c.name, c.kind) for c in root.children][:2] == [("0", "Conv2d"), ("1", "BatchNorm2d")]
    assert root.parameters == root.trainable == sum(p.numel() for p in model.parameters())
    with FlopCounterMode(display=False) as counter:
        model(batch[0])
    assert root.flops == sum(c.flops for c in root.children) == counter.get_total_flops()
    conv, _, relu, *_, last = root.children
    assert conv.flops == 2 * 12 * 64 * 4 * 9
    assert (conv.entered, conv.shape) == ((12, 1, 8, 8), (12, 4, 8, 8))
    assert "bias" in conv.remark
    assert last.shape == (12, 3)
    assert relu.values.low == 0 < relu.values.high
    assert 0 < relu.values.zeros < relu.values.count


def test_memory_is_what_autograd_keeps() -> None:
    model, batch = conv_net(), batch_of(12, 1, 8, 8)
    kept: dict[int, torch.Tensor] = {}
    own = {p.data_ptr() for p in (*model.parameters(), *model.buffers(), *batch)}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = model(batch[0])
    (root,) = structure(step_of(model, batch))
    assert out.requires_grad
    assert root.memory == sum(t.untyped_storage().nbytes() for t in kept.values())


def test_values_are_those_of_the_results() -> None:
    model, batch = conv_net().eval(), batch_of(12, 1, 8, 8)
    (root,) = structure(step_of(model, batch))
    out = model(batch[0]).detach()
    assert root.values.mean == pytest.approx(float(out.mean()), abs=1e-5)
    assert root.values.deviation == pytest.approx(float(out.std(correction=0)), rel=1e-4)
    assert (root.values.low, root.values.high) == (float(out.min()), float(out.max()))


def test_values_add_up() -> None:
    torch.manual_seed(0)
    parts = [torch.randn(7) + 3, torch.randn(30) * 2, torch.zeros(4)]
    values = Values()
    for part in parts:
        values.add(Values.of(part))
    joined = Values.of(torch.cat(parts))
    assert values.mean == pytest.approx(joined.mean, rel=1e-5)
    assert values.deviation == pytest.approx(joined.deviation, rel=1e-5)
    assert (values.count, values.zeros, values.low, values.high) == (41, 4, joined.low, joined.high)


class Block(nn.Module):
    """A pre-norm attention block with weights of its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, 2, batch_first=True)
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        return x + F.gelu(self.attention(y, y, y, need_weights=False)[0]) * self.scale  # type: ignore[no-any-return]


class Language(nn.Module):
    """A small language model with tied weights, whose result is a dict."""

    def __init__(self, width: int = 16, depth: int = 3) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.unused = nn.Linear(4, 4)
        self.head = nn.Linear(width, 11, bias=False)
        self.head.weight = self.tokens.weight
        for parameter in self.blocks[0].norm.parameters():  # type: ignore[union-attr]
            parameter.requires_grad_(False)

    def forward(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x)
        return {"logits": self.head(x)}


def language_step() -> tuple[Language, Step]:
    torch.manual_seed(0)
    model = Language()
    ids = torch.randint(0, 11, (5, 7))

    def loss(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(model(batch[:, :-1])["logits"].reshape(-1, 11), batch[:, 1:].reshape(-1))

    return model, step_of(model, ids, loss)


def test_blocks_are_folded_and_tied_weights_count_once() -> None:
    model, step = language_step()
    layers = structure(step)
    total = whole(layers)
    assert total.parameters == sum(p.numel() for p in model.parameters())
    assert total.parameters - total.trainable == 32
    found = every(layers)
    assert found["Language.unused"].remark == "not called"
    assert found["Language.head"].remark == "shares weights with tokens"
    assert "Language.blocks.0.attention.out_proj" not in found  # its weights are used, though it is never called
    rows = every(folded(layers))
    assert "Language.blocks.1–2" in rows  # block 0 differs: part of it is frozen
    both = rows["Language.blocks.1–2"]
    assert both.repeats == 2
    assert both.parameters == 2 * found["Language.blocks.1"].parameters
    assert both.flops == found["Language.blocks.1"].flops + found["Language.blocks.2"].flops
    assert any(c.kind == "gelu" for c in both.children)


def test_attention_is_counted_on_the_processor_as_elsewhere() -> None:
    q = torch.randn(2, 4, 6, 8)

    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.scaled_dot_product_attention(x * self.scale, x, x)

    step = step_of(Attend(), q, lambda model, x: model(x).square().mean())
    assert whole(structure(step)).flops == 2 * 2 * 2 * 4 * 6 * 6 * 8


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_cost_their_matrices_once_per_element(kind: Any) -> None:
    torch.manual_seed(0)

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells, self.head = kind(5, 8, num_layers=2, bidirectional=True, batch_first=True), nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out, _ = self.cells(x)
            return self.head(out[:, -1])  # type: ignore[no-any-return]

    model, batch = Reader(), batch_of(4, 9, 5)
    found = every(structure(step_of(model, batch)))
    matrices = sum(p.numel() for p in model.cells.parameters() if p.ndim == 2)
    assert found["Reader.cells"].flops == 2 * 4 * 9 * matrices
    assert found["Reader.cells"].shape == (4, 9, 16)
    assert found["Reader.cells"].parameters == sum(p.numel() for p in model.cells.parameters())


def test_a_model_called_twice_and_functions_with_weights() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3))
    weight = torch.randn(3, 3, requires_grad=True)

    def loss(model: nn.Module, batch: Any) -> torch.Tensor:
        return F.cross_entropy((model(batch[0]) + model(-batch[0])) @ weight, batch[1])

    layers = structure(step_of(model, batch_of(6, 8), loss))
    root, product = layers
    assert root.calls == 2
    assert root.flops == 2 * (2 * 6 * (8 * 4 + 4 * 3))
    assert product.flops == 2 * 6 * 9
    assert product.parameters == 9


def test_what_is_odd_about_a_result() -> None:
    torch.manual_seed(0)
    dead = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3))
    with torch.no_grad():
        dead[0].bias.fill_(-100.0)  # type: ignore[operator]
    found = every(structure(step_of(dead, batch_of(6, 8))))
    assert found["Sequential.1"].remark == "gives zeros only"
    assert found["Sequential.2"].remark == ""
    assert found["Sequential.0"].remark == ""


def test_the_step_itself_is_left_alone() -> None:
    model = conv_net()
    batch = batch_of(12, 1, 8, 8)
    step = step_of(model, batch)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    trouble: list[BaseException] = []
    assert list(overview.of_steps([step], lambda _, error: trouble.append(error)))
    assert not trouble
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_table_in_the_views(tmp_path: Path) -> None:
    _, step = language_step()
    (made,) = anatomy.tables([step])
    widths = {len(row) for row in made.content["rows"]}
    assert widths == {len(made.content["columns"])}
    assert made.content["rows"][-1][0] == "total"
    done = record(tmp_path, pictures=(Picture.from_json(made.to_json()),))
    page = report.to_html(done)
    assert "1–2" in page
    assert "shares weights with tokens" in page
    console = Console(width=110, color_system=None, record=True, file=io.StringIO())
    terminal.show(done, console, verbose=True)
    text = console.export_text()
    assert "    1–2" in text
    assert "not called" in text
    console = Console(width=110, color_system=None, record=True, file=io.StringIO())
    terminal.show(done, console)
    assert "1–2" not in console.export_text()


def test_tables_of_before_are_still_shown(tmp_path: Path) -> None:
    plain = Picture("table", "Old", "", {"columns": ["a", "b"], "rows": [["x", ""], ["y", "1"]]})
    assert "<td>y</td>" in report.to_html(record(tmp_path, pictures=(plain,)))
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        table("t", "", ["a", "b"], [["x"]])


def test_a_deep_tree_is_cut_to_what_a_table_holds() -> None:
    torch.manual_seed(0)
    inner = [nn.Sequential(*(nn.Linear(4 + i % 2, 4 + (i + 1) % 2) for i in range(4))) for _ in range(40)]
    widths = nn.Sequential(*(layer for s in inner for layer in (s, nn.Dropout(0.1))))
    made = anatomy.of_step(step_of(widths, batch_of(6, 4)))
    assert made is not None
    assert len(made.content["rows"]) <= anatomy.MOST_ROWS + 1


# ---- the first layer, and what outputs depend on


def image(uri: str) -> Image.Image:
    assert uri.startswith("data:image/png;base64,")
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def titles(step: Step) -> list[str]:
    found = []
    for picture in imagery.of_step(step):
        at: Picture | None = picture
        while at is not None:
            found.append(at.title)
            at = at.beside
    return found


def smooth(*shape: int) -> torch.Tensor:
    """Pictures of a bright spot each."""
    torch.manual_seed(0)
    *_, height, width = shape
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    centre = torch.rand(*shape[:-2], 1, 1) - 0.5
    return torch.exp(-4 * ((y - centre) ** 2 + (x + centre) ** 2))


SEEN = ["Weights of the first layer", "Activations of the first layer", "What the output depends on"]


def test_filters_and_maps_of_a_convolution() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 81, 3))
    x = smooth(6, 3, 12, 12)
    step = step_of(net, (x, torch.arange(6) % 3))
    assert titles(step) == SEEN
    weights = imagery.first_layer(step)
    assert weights is not None
    assert weights.beside is not None
    assert len(weights.content["tiles"]) == 5
    pixel = image(weights.content["tiles"][2]["image"])
    kernel = net[0].weight[2].detach()  # type: ignore[index]
    unit = (kernel - kernel.min()) / (kernel.max() - kernel.min())  # type: ignore[operator]
    assert pixel.mode == "RGB"
    scale = pixel.width // 4
    assert pixel.getpixel((scale * 1, scale * 3)) == tuple(round(255 * float(v)) for v in unit[:, 3, 1])
    assert len(weights.beside.content["tiles"]) == 6


@pytest.mark.parametrize("shape", [(6, 64), (6, 192)])
def test_rows_that_are_pictures(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    flat = smooth(6, shape[1] // 64, 8, 8).reshape(shape)
    net = nn.Sequential(nn.Linear(shape[1], 7), nn.ReLU(), nn.Linear(7, 3))
    assert titles(step_of(net, (flat, torch.arange(6) % 3))) == [SEEN[0], SEEN[2]]


def test_a_square_number_of_features_is_no_picture() -> None:
    net = nn.Sequential(nn.Linear(64, 7), nn.ReLU(), nn.Linear(7, 3))
    assert titles(step_of(net, batch_of(12, 64))) == ["What the loss depends on"]


def test_channels_last() -> None:
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.conv(x.movedim(-1, 1)).mean((2, 3)))  # type: ignore[no-any-return]

    x = smooth(6, 1, 9, 9).movedim(1, -1)
    assert titles(step_of(Net(), (x, torch.arange(6) % 3))) == SEEN


def test_saliency_is_red_where_the_output_depends() -> None:
    class Corner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x[:, 0, :2, :2].flatten(1))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    made = imagery.saliency(step_of(Corner(), (smooth(4, 1, 8, 8), torch.arange(4) % 3)))
    assert made is not None
    drawn = image(made.content["tiles"][0]["image"])
    scale = drawn.width // 16
    reds = [[p[0] - p[2] for x in range(8) for p in [drawn.getpixel((scale * (8 + x), scale * y))]] for y in range(8)]  # type: ignore[index]
    assert min(reds[0][0], reds[1][1]) > 20
    assert max(max(row[2:]) for row in reds) == 0


def test_pictures_stay_small() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 64, 11, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 3))
    step = step_of(net, (torch.rand(8, 3, 224, 224), torch.arange(8) % 3))
    size = sum(len(str(p.to_json())) for p in [*imagery.of_step(step), *anatomy.tables([step])])
    assert size < 300_000


def test_positions_of_tokens() -> None:
    _, step = language_step()
    made = imagery.positions(step)
    assert made is not None
    cells = made.content["data"]["values"]
    assert {c["x"] for c in cells} == set(range(6))
    assert max(c["value"] for c in cells) == 1.0


def test_features_without_effect() -> None:
    torch.manual_seed(0)
    net = nn.Linear(5, 3)
    with torch.no_grad():
        net.weight[:, 2] = 0
    made = imagery.positions(step_of(net, batch_of(6, 5)))
    assert made is not None
    column = [c["value"] for c in made.content["data"]["values"] if c["x"] == 2]
    assert set(column) == {0.0}


# ---- predictions along a run


def train(follow: bool, steps: int = 90, always: bool = False, model: nn.Module | None = None) -> tuple[Listener, Any]:
    """A training with dropout and noise under observation; what it leaves is returned with the listener."""
    listener = Listener(follow=follow, detail_always=always)
    listener.install()
    printed: list[float] = []
    try:
        torch.manual_seed(0)
        net = model or nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))
        x, y = torch.randn(256, 6), torch.arange(256) % 3
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        for _ in range(steps):
            picked = torch.randint(0, 256, (32,))
            loss = F.cross_entropy(net(x[picked] + 0.1 * torch.randn(32, 6)), y[picked])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            printed.append(loss.item())
    finally:
        listener.remove()
    listener.fill_plan()
    weights = {k: v.clone() for k, v in net.state_dict().items()}
    return listener, (weights, printed, torch.get_rng_state())


@pytest.mark.parametrize("always", [False, True])
def test_following_changes_nothing(always: bool) -> None:
    _, (weights, losses, state) = train(follow=False, always=always)
    listener, (same, again, after) = train(follow=True, always=always)
    assert not listener.trouble
    assert listener.run.dynamics is not None
    assert again == losses
    assert torch.equal(after, state)
    assert all(torch.equal(v, same[k]) for k, v in weights.items())
    assert listener.run.forwards[0].count == 90


def test_what_is_followed_are_the_predictions() -> None:
    listener, (weights, _, _) = train(follow=True)
    dynamics = listener.run.dynamics
    assert dynamics is not None
    steps = [look.step for look in dynamics.looks]
    assert steps == [0, 1, 2, 12, 16, 24, 32, 40, 48, 56, 64, 90]
    (tape, *_), *_ = listener.backwards.tapes.values()
    step = Step.from_tapes([tape], None, {})
    twin = step.twin()
    with torch.no_grad():
        first = twin.run(until=step.predictions)[step.predictions[0]]
    rows = [int(name.split()[1]) for name in dynamics.names]
    truths = torch.tensor(dynamics.truths).long()
    expected = first[rows].double().softmax(1).gather(1, truths[:, None])[:, 0]
    assert dynamics.looks[0].values == pytest.approx(expected.tolist(), rel=1e-5)
    (working,) = [twin.module(op) for op in step.tape.modules()]
    working.load_state_dict(weights)
    with torch.no_grad():
        last = twin.run(until=step.predictions)[step.predictions[0]]
    assert dynamics.looks[-1].picked == last[rows].argmax(1).tolist()
    assert not dynamics.stuck
    assert not dynamics.alike


def test_looks_of_a_rehearsal() -> None:
    listener, _ = train(follow=True, steps=40, always=True)
    assert listener.run.dynamics is not None
    assert [look.step for look in listener.run.dynamics.looks] == [0, 1, 2, 4, 6, 8, 12, 16, 24, 32, 40]


def test_dynamics_stay_bounded() -> None:
    dynamics = Dynamics("numbers", [0.0], ["example 0"], True)
    thinned = [dynamics.add(Look(step, [[float(step)]], [0], [float(step)])) for step in range(500)]
    assert any(thinned)
    assert len(dynamics.looks) <= LOOKS
    assert dynamics.looks[0].step == 0
    assert dynamics.looks[-1].step == 499


def test_jitter_flips_and_stuck_outputs() -> None:
    def of(*values: list[float], moved: bool = True) -> Dynamics:
        looks = [Look(i, [[v] for v in row], [int(v > 0) for v in row], row, moved) for i, row in enumerate(values)]
        return Dynamics("binary", [1.0, 0.0], ["a", "b"], True, looks)

    jumping = of([1.0, -1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, -1.0])
    assert jumping.jitter() == 1.0
    assert jumping.flips() == 0.5
    assert not jumping.stuck
    assert not jumping.alike
    still = of(*[[1.0, -1.0]] * 4)
    assert still.stuck
    assert not of(*[[1.0, -1.0]] * 4, moved=False).stuck
    assert of([1.0, 1.0], [2.0, 2.0]).alike
    assert "Stuck" in overview.fixed_batch(still).caption


class Printing(nn.Module):
    """A model that prints and keeps count in its forward, and whose loss is its own."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.calls = nn.Linear(6, 3), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        print("forward", self.calls)
        return self.head(x)  # type: ignore[no-any-return]


def test_forwards_of_ours_are_not_heard(capsys: pytest.CaptureFixture[str]) -> None:
    model = Printing()
    train(follow=True, model=model)
    assert model.calls == 90
    printed = capsys.readouterr().out.split("\n")
    assert [line for line in printed if line] == [f"forward {i}" for i in range(1, 91)]


@pytest.mark.parametrize("script", ["zoo/batchnorm_cnn.py", "zoo/mc_dropout_eval.py", "zoo/vq_vae_ema.py", "zoo/lbfgs.py"])
def test_runs_are_bit_identical(ask: Any, script: str) -> None:
    bare = Final(**ask(script, final=True, observed=False), seconds=0.0)
    seen = Final(**ask(script, final=True, observed=True), seconds=0.0)
    assert (seen.weights, seen.output, seen.code) == (bare.weights, bare.output, bare.code)


def test_sparse_inputs_are_not_drawn_and_break_nothing() -> None:
    model = nn.Linear(6, 2)
    x = torch.eye(12, 6).to_sparse()
    step = step_of(
        model, (x, torch.arange(12) % 2), lambda m, b: nn.functional.cross_entropy(torch.sparse.mm(b[0], m.weight.T), b[1])
    )
    trouble: list[BaseException] = []
    list(overview.of_steps([step], lambda _, error: trouble.append(error)))
    assert not trouble
