"""Counting knocks on a door from 3-axis accelerometer clips with a recurrent net."""
import torch
import torch.nn as nn


def synth_knocks(n, length, gen):
    """Each clip holds 0 to 3 short knocks in sensor noise; the label is their number."""
    y = torch.randint(0, 4, (n,), generator=gen)
    slot = torch.rand(n, length, generator=gen).argsort(1)
    knock = (slot < y[:, None]).float()
    direction = torch.tensor([1.6, -1.2, 1.0])
    gain = 0.8 + 0.4 * torch.rand(n, length, 1, generator=gen)
    sig = knock[..., None] * gain * direction
    return sig + 0.3 * torch.randn(n, length, 3, generator=gen), y


class KnockGRU(nn.Module):
    def __init__(self, hidden=48, classes=4):
        super().__init__()
        self.gru = nn.GRU(3, hidden, batch_first=True)
        self.fc = nn.Linear(hidden, classes)
        self.hidden_size = hidden
        self.h = None

    def init_hidden(self, batch_size):
        self.h = torch.zeros(1, batch_size, self.hidden_size)

    def forward(self, x):
        out, h = self.gru(x, self.h)
        self.h = h.detach()
        return self.fc(out[:, -1])


torch.manual_seed(5)
g = torch.Generator().manual_seed(50)
Xtr, Ytr = synth_knocks(2560, 16, g)
Xte, Yte = synth_knocks(1280, 16, g)
BS = 64

model = KnockGRU()
opt = torch.optim.Adam(model.parameters(), lr=3e-3)
ce = nn.CrossEntropyLoss()

for epoch in range(14):
    model.train()
    order = torch.randperm(len(Xtr))
    losses, hits = [], 0
    for i in range(0, len(order), BS):
        sel = order[i:i + BS]
        model.init_hidden(len(sel))
        logits = model(Xtr[sel])
        loss = ce(logits, Ytr[sel])
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        losses.append(loss.item())
        hits += (logits.argmax(1) == Ytr[sel]).sum().item()

    model.eval()
    correct = 0
    with torch.no_grad():
        for i in range(0, len(Xte), BS):
            model.init_hidden(len(Xte[i:i + BS]))
            correct += (model(Xte[i:i + BS]).argmax(1) == Yte[i:i + BS]).sum().item()
    print(f"epoch {epoch:2d}  loss {sum(losses) / len(losses):.4f}  "
          f"train acc {hits / len(Xtr):.3f}  test acc {correct / len(Xte):.3f}")
