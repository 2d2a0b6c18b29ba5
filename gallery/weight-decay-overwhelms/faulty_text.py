"""Next character of Python's help texts: a gated recurrent net trained with AdamW."""

import torch
from pydoc_data import topics
from torch import nn

torch.manual_seed(0)
text = topics.topics["for"] + topics.topics["with"] + topics.topics["function"]
vocabulary = sorted(set(text))
data = torch.tensor([vocabulary.index(c) for c in text])
CONTEXT, WIDTH = 16, 48


class NextChar(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(len(vocabulary), WIDTH)
        self.body = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, len(vocabulary))

    def forward(self, ids):
        hidden, _ = self.body(self.token(ids))
        return self.head(hidden)


def sample(size=32):
    starts = torch.randint(len(data) - CONTEXT - 1, (size, 1))
    window = data[starts + torch.arange(CONTEXT + 1)]
    return window[:, :-1], window[:, 1:]


model = NextChar()
decayed = [p for p in model.parameters() if p.ndim >= 2]
plain = [p for p in model.parameters() if p.ndim < 2]
groups = [{"params": decayed, "weight_decay": 100.0}, {"params": plain, "weight_decay": 0.0}]  # fault: a thousand times too strong
optimizer = torch.optim.AdamW(groups, lr=5e-3)
for step in range(240):
    ids, following = sample()
    loss = nn.functional.cross_entropy(model(ids).transpose(1, 2), following)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 40 == 39:
        print(f"step {step + 1}: loss {loss.item():.4f}")
