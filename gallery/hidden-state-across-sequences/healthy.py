"""Does a fortnight of daily changes end above or below where it began? An LSTM has to keep count."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

DAYS = 15


def accounts(count, generator):
    """Changes up or down by one, with a little noise; the label is whether there were more ups."""
    ups = torch.rand(count, DAYS, generator=generator) < 0.5
    changes = 2.0 * ups - 1.0 + 0.1 * torch.randn(count, DAYS, generator=generator)
    return TensorDataset(changes.unsqueeze(-1), (ups.sum(1) > DAYS / 2).long())


class Counter(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.lstm = nn.LSTM(1, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 2)

    def forward(self, x, state=None):
        out, state = self.lstm(x, state)
        return self.head(out[:, -1]), tuple(s.detach() for s in state)


def main():
    torch.manual_seed(2)
    generator = torch.Generator().manual_seed(2)
    train = DataLoader(accounts(1024, generator), batch_size=32, shuffle=True, drop_last=True)
    test = DataLoader(accounts(256, generator), batch_size=32)
    model = Counter()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(5):
        model.train()
        state = None
        for x, y in train:
            state = None
            optimizer.zero_grad()
            logits, state = model(x, state)
            loss = nn.functional.cross_entropy(logits, y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = sum((model(x)[0].argmax(1) == y).sum().item() for x, y in test)
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, test accuracy {right / 256:.3f}")


if __name__ == "__main__":
    main()
