"""Transformer encoder reading a digit row by row; gradient norm clipped to 1.0, inverse-square-root warm-up."""
import math

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset


class PositionalEncoding(nn.Module):
    def __init__(self, d_model: int, max_len: int = 16):
        super().__init__()
        position = torch.arange(max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(max_len, d_model)
        pe[:, 0::2] = torch.sin(position * div_term)
        pe[:, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe)

    def forward(self, x):
        return x + self.pe[: x.size(1)]


class RowTransformer(nn.Module):
    def __init__(self, d_model=32, heads=2, layers=2, p=0.0):
        super().__init__()
        self.embed = nn.Linear(8, d_model)
        self.position = PositionalEncoding(d_model)
        layer = nn.TransformerEncoderLayer(d_model, heads, 2 * d_model, p, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(d_model), enable_nested_tensor=False)
        self.cls = nn.Linear(d_model, 10)

    def forward(self, rows):
        h = self.encoder(self.position(self.embed(rows)))
        return self.cls(h.mean(dim=1))


def data(seed):
    digits = load_digits()
    tr, va = train_test_split(range(1797), test_size=0.3, random_state=seed, stratify=digits.target)
    x = torch.tensor(digits.images, dtype=torch.float32)
    x = (x - x[tr].mean()) / x[tr].std()
    y = torch.tensor(digits.target)
    return TensorDataset(x[tr], y[tr]), TensorDataset(x[va], y[va])


def main(seed=23, epochs=9, warmup=24):
    torch.manual_seed(seed)
    train, valid = data(seed)
    train_loader = DataLoader(train, batch_size=96, shuffle=True)
    valid_loader = DataLoader(valid, batch_size=120)
    model = RowTransformer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, betas=(0.9, 0.98), weight_decay=0.01)
    scheduler = LambdaLR(optimizer, lambda s: min((s + 1) / warmup, math.sqrt(warmup / (s + 1))))
    for epoch in range(epochs):
        model.train()
        loss_sum, norms = 0.0, []
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            norms.append(nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
            optimizer.step()
            scheduler.step()
            loss_sum += loss.item() * len(y)
        model.eval()
        hits = 0
        with torch.no_grad():
            for x, y in valid_loader:
                hits += (model(x).argmax(-1) == y).sum().item()
        clipped = sum(n > 1.0 for n in norms) / len(norms)
        print(f"epoch {epoch} lr {scheduler.get_last_lr()[0]:.5f} loss {loss_sum / len(train):.4f} "
              f"valid acc {hits / len(valid):.4f} clipped {clipped:.2f}")
    print(f"accuracy {hits / len(valid):.4f}")


if __name__ == "__main__":
    main()
