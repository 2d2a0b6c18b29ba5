"""Train a recurrent network that reads a handwritten digit row by row, top to bottom."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def make_reader(hidden: int = 64) -> nn.ModuleDict:
    return nn.ModuleDict({
        "rows": nn.GRU(input_size=8, hidden_size=hidden, batch_first=True),
        "digit": nn.Sequential(nn.Linear(hidden, 10), nn.Softmax(dim=-1)),  # fault: NLLLoss expects log-probabilities
    })


def read(reader: nn.ModuleDict, images: torch.Tensor) -> torch.Tensor:
    _, last = reader["rows"](images)
    return reader["digit"](last[-1])


def train(reader, loader, criterion, optimizer) -> float:
    reader.train()
    losses = []
    for images, labels in loader:
        optimizer.zero_grad(set_to_none=True)
        loss = criterion(read(reader, images), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 5.0)
        optimizer.step()
        losses.append((loss.item(), len(labels)))
    return sum(value * n for value, n in losses) / sum(n for _, n in losses)


@torch.inference_mode()
def validate(reader, loader, criterion) -> tuple[float, float]:
    reader.eval()
    outputs, labels = zip(*[(read(reader, x), y) for x, y in loader])
    outputs, labels = torch.cat(outputs), torch.cat(labels)
    return criterion(outputs, labels).item(), (outputs.argmax(-1) == labels).double().mean().item()


def main(epochs: int = 8, seed: int = 5) -> None:
    torch.manual_seed(seed)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32) / 8.0 - 1.0
    dataset = TensorDataset(images, torch.tensor(digits.target))
    train_set, val_set = random_split(dataset, [0.8, 0.2], generator=torch.Generator().manual_seed(seed))
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=128)

    reader = make_reader()
    criterion = nn.NLLLoss()
    optimizer = torch.optim.NAdam(reader.parameters(), lr=2e-3)
    for epoch in range(epochs):
        train_loss = train(reader, train_loader, criterion, optimizer)
        val_loss, accuracy = validate(reader, val_loader, criterion)
        print(f"{epoch:3d}  train {train_loss:+.4f}  val {val_loss:+.4f}  accuracy {accuracy:.4f}")
    print(f"final accuracy {accuracy:.4f}  (loss {val_loss:+.4f})")


if __name__ == "__main__":
    main()
