"""Lengths in metres from wobbly tracks of different numbers of points, by a GRU that is fed time first."""
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

rng = np.random.default_rng(2)
torch.manual_seed(2)


class Tracks(Dataset):
    def __init__(self, many):
        self.tracks = [rng.normal(0.3, 0.4, (rng.integers(4, 25), 2)).astype("float32") for _ in range(many)]

    def __len__(self):
        return len(self.tracks)

    def __getitem__(self, i):
        track = self.tracks[i]
        return {"points": torch.from_numpy(track), "metres": float(np.linalg.norm(track, axis=1).sum())}


def together(samples):
    """Longest track first, zeros behind the others."""
    tracks = sorted((s["points"] for s in samples), key=lambda t: -len(t))  # fault: only the tracks are sorted
    metres = torch.tensor([s["metres"] for s in samples])
    sizes = [len(t) for t in tracks]
    return nn.utils.rnn.pad_sequence(tracks), sizes, metres / 10


class Odometer(nn.Module):
    def __init__(self):
        super().__init__()
        self.reader = nn.GRU(2, 32)
        self.out = nn.Linear(32, 1)

    def forward(self, points, sizes):
        _, last = self.reader(nn.utils.rnn.pack_padded_sequence(points, sizes))
        return self.out(last[0]).squeeze(1)


train = DataLoader(Tracks(1200), batch_size=40, shuffle=True, collate_fn=together)
test = DataLoader(Tracks(300), batch_size=100, collate_fn=together)
net = Odometer()
optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
for epoch in range(8):
    net.train()
    for points, sizes, metres in train:
        loss = nn.functional.smooth_l1_loss(net(points, sizes), metres)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        off = torch.cat([(net(p, s) - m).abs() for p, s, m in test])
    print(f"epoch {epoch}: off by {off.mean().item() * 10:.2f} m")
