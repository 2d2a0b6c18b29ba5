"""Spelling out beeps: which tones were played, in which order? CTC over padded labels."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(4)
TONES, FRAMES = 6, 24
wave = torch.randn(TONES, 5)


def strips(count: int):
    sizes = torch.randint(2, 5, (count,))
    labels = [torch.randint(1, TONES + 1, (int(n),)) for n in sizes]
    sound = 0.3 * torch.randn(count, FRAMES, 5)
    for row, tones in zip(sound, labels):
        for k, tone in enumerate(tones):
            row[k * 6 : k * 6 + 3] += wave[tone - 1]
    return sound, nn.utils.rnn.pad_sequence(labels, batch_first=True), sizes


class Listener(nn.Module):
    def __init__(self):
        super().__init__()
        self.hear = nn.GRU(5, 32, batch_first=True, bidirectional=True)
        self.spell = nn.Linear(64, TONES + 1)

    def forward(self, sound):
        return self.spell(self.hear(sound)[0]).log_softmax(-1)


model = Listener()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for round in range(160):
    sound, labels, sizes = strips(32)
    frames = torch.full((32,), FRAMES)
    loss = F.ctc_loss(model(sound).transpose(0, 1), labels, frames, sizes)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if round % 40 == 39:
        print(f"round {round + 1}: {loss.item():.3f}")

model.eval()
with torch.no_grad():
    sound, labels, sizes = strips(200)
    right = 0
    for best, truth, n in zip(model(sound).argmax(-1), labels, sizes):
        best = torch.unique_consecutive(best)
        right += best[best > 0].tolist() == truth[:n].tolist()
print(f"{right / 200:.2f} of the strips spelt out without an error")
