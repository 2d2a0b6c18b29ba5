"""Self-supervised InfoNCE on digits: two noisy views per image, the rest of the batch are the negatives."""
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


def augment(x: Tensor) -> Tensor:
    """Random sub-pixel gain, pixel noise and random erasing of pixels."""
    gain = 1 + 0.1 * torch.randn(len(x), 1)
    keep = (torch.rand_like(x) > 0.2).float()
    return (x * gain + 0.15 * torch.randn_like(x)) * keep


class SimCLR(nn.Module):
    def __init__(self, temperature: float = 0.2) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32))
        self.projector = nn.Sequential(nn.ReLU(), nn.Linear(32, 16))
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(self.projector(self.encoder(x)), dim=-1)

    def info_nce(self, a: Tensor, b: Tensor) -> Tensor:
        logits = self(a) @ self(b).T / self.temperature
        labels = torch.arange(len(a))
        return (nn.functional.cross_entropy(logits, labels) + nn.functional.cross_entropy(logits.T, labels)) / 2


def probe(model: SimCLR, train: TensorDataset, valid: TensorDataset) -> float:
    model.eval()
    with torch.no_grad():
        f_train = model.encoder(train.tensors[0]).numpy()
        f_valid = model.encoder(valid.tensors[0]).numpy()
    model.train()
    mean, std = f_train.mean(0), f_train.std(0)
    clf = LogisticRegression(max_iter=200).fit((f_train - mean) / std, train.tensors[1].numpy())
    return clf.score((f_valid - mean) / std, valid.tensors[1].numpy())


def main() -> None:
    torch.manual_seed(13)
    bunch = load_digits()
    x = torch.tensor(bunch.data, dtype=torch.float32)
    y = torch.tensor(bunch.target)
    order = torch.randperm(len(x))
    train_idx, valid_idx = order[:1437], order[1437:]
    x = (x - x[train_idx].mean()) / x[train_idx].std()
    train = TensorDataset(x[train_idx], y[train_idx])
    valid = TensorDataset(x[valid_idx], y[valid_idx])
    loader = DataLoader(train, batch_size=128, shuffle=True, drop_last=True)

    model = SimCLR()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    for epoch in range(15):
        total = 0.0
        for batch, _ in loader:
            loss = model.info_nce(augment(batch), augment(batch))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        with torch.no_grad():
            held_out = model.info_nce(augment(valid.tensors[0][:128]), augment(valid.tensors[0][:128])).item()
        print(f"epoch {epoch:2d}  info-nce {total / len(loader):.4f}  held out {held_out:.4f}")
    print(f"linear probe accuracy {probe(model, train, valid):.4f}")


if __name__ == "__main__":
    main()
