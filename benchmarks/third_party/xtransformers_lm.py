"""A byte language model with x-transformers, which makes its own loss, with accumulation."""

# needs: x_transformers
import torch, random, numpy as np, pydoc_data.topics as tp
from torch.utils.data import DataLoader, Dataset
from x_transformers import TransformerWrapper, Decoder
from x_transformers.autoregressive_wrapper import AutoregressiveWrapper

torch.manual_seed(0)
random.seed(0)
text = "".join(tp.topics.values()).encode("ascii", "ignore")[:200000]
data = torch.tensor(np.frombuffer(text, dtype=np.uint8).copy()).long()
SEQ = 64
model = AutoregressiveWrapper(
    TransformerWrapper(num_tokens=256, max_seq_len=SEQ, attn_layers=Decoder(dim=64, depth=2, heads=4, rotary_pos_emb=True))
)


class TextSampler(Dataset):
    def __init__(self, d):
        self.d = d

    def __getitem__(self, i):
        s = torch.randint(0, self.d.size(0) - SEQ - 1, (1,))
        return self.d[s : s + SEQ + 1].long()

    def __len__(self):
        return self.d.size(0) // SEQ


def cycle(l):
    while True:
        for x in l:
            yield x


tr, va = data[:180000], data[180000:]
train = cycle(DataLoader(TextSampler(tr), batch_size=4, drop_last=True))
val = cycle(DataLoader(TextSampler(va), batch_size=4, drop_last=True))
optim = torch.optim.Adam(model.parameters(), lr=1e-4)
for i in range(40):
    model.train()
    for _ in range(4):
        loss = model(next(train))
        (loss / 4).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optim.step()
    optim.zero_grad()
    if i % 10 == 0:
        model.eval()
        with torch.no_grad():
            print(i, loss.item(), model(next(val)).item())
    if i % 20 == 0:
        model.eval()
        inp = random.choice(TextSampler(va))[:-1]
        model.generate(prompts=inp[None], seq_len=8)
