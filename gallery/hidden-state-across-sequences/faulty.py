"""Tell which of four oscillators a short, noisy recording comes from, with an LSTM over the recording."""
import math

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

LENGTH = 40
PERIODS = (7.0, 9.0, 12.0, 16.0)


def recordings(count, generator):
    label = torch.randint(0, len(PERIODS), (count,), generator=generator)
    period = torch.tensor(PERIODS)[label].unsqueeze(1)
    phase = torch.rand(count, 1, generator=generator) * 2 * math.pi
    t = torch.arange(LENGTH).float()
    wave = torch.sin(2 * math.pi * t / period + phase)
    noise = 0.4 * torch.randn(count, LENGTH, generator=generator)
    return TensorDataset((wave + noise).unsqueeze(-1), label)


class Listener(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.lstm = nn.LSTM(1, hidden, batch_first=True)
        self.head = nn.Linear(hidden, len(PERIODS))

    def forward(self, x, state=None):
        out, state = self.lstm(x, state)
        return self.head(out[:, -1]), tuple(s.detach() for s in state)


def main():
    torch.manual_seed(2)
    generator = torch.Generator().manual_seed(2)
    train = DataLoader(recordings(1024, generator), batch_size=32, shuffle=True, drop_last=True)
    test = DataLoader(recordings(256, generator), batch_size=32)
    model = Listener()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(5):
        model.train()
        state = None
        for x, y in train:
            optimizer.zero_grad()
            logits, state = model(x, state)  # fault: the state comes from the batch before
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
