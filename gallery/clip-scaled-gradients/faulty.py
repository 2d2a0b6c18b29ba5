"""A character model of Python's own help texts, trained in float16 with loss scaling: python train.py"""
import pydoc_data.topics

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(8)
CONTEXT, WIDTH, BATCH, STEPS = 40, 64, 64, 220
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

text = "\n".join(pydoc_data.topics.topics[k] for k in ("assert", "break", "for", "if", "while", "try", "return"))
letters = sorted(set(text))
code = torch.tensor([letters.index(c) for c in text])
split = int(0.9 * len(code))
train_text, valid_text = code[:split], code[split:]


def batch_of(source, size, generator=None):
    starts = torch.randint(len(source) - CONTEXT, (size,), generator=generator)
    window = starts[:, None] + torch.arange(CONTEXT + 1)
    chunk = source[window].to(DEVICE)
    return chunk[:, :-1], chunk[:, -1]


class NextLetter(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(len(letters), 8)
        self.hidden = nn.Linear(8 * CONTEXT, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.out = nn.Linear(WIDTH, len(letters))

    def forward(self, x):
        h = self.embed(x).flatten(1)
        return self.out(torch.relu(self.norm(self.hidden(h))))


model = NextLetter().to(DEVICE)
optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
scaler = torch.amp.GradScaler(DEVICE)

for step in range(1, STEPS + 1):
    x, y = batch_of(train_text, BATCH)
    optimizer.zero_grad()
    with torch.autocast(DEVICE, dtype=torch.float16):
        logits = model(x)
    loss = F.cross_entropy(logits.float(), y)
    scaler.scale(loss).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # fault: the gradients are still multiplied by the scaler's factor
    scaler.step(optimizer)
    scaler.update()
    if step % 55 == 0:
        with torch.no_grad():
            x, y = batch_of(valid_text, 512, torch.Generator().manual_seed(1))
            valid = F.cross_entropy(model(x), y).item()
        print(f"step {step} loss {loss.item():.3f} valid {valid:.3f} scale {scaler.get_scale():g}")
