"""CTC on strips of handwritten digits: each strip is 2-5 digits glued side by side."""
import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

torch.manual_seed(3)
rng = np.random.default_rng(3)

digits = load_digits()
imgs = (digits.images / 16.0).astype("float32")
tr_i, te_i = train_test_split(np.arange(len(imgs)), test_size=0.25, random_state=0, stratify=digits.target)

NUM_DIGITS = 10
BLANK = NUM_DIGITS  # labels are 0..9


def make_strip(pool):
    n = rng.integers(2, 6)
    pick = rng.choice(pool, n)
    strip = np.concatenate([imgs[i] for i in pick], axis=1)  # 8 x 8n
    return torch.from_numpy(strip.T.copy()), torch.from_numpy(digits.target[pick]).long()


def batch(pool, size):
    xs, ys = zip(*[make_strip(pool) for _ in range(size)])
    x_len = torch.tensor([len(x) for x in xs])
    y_len = torch.tensor([len(y) for y in ys])
    x = nn.utils.rnn.pad_sequence(xs)  # T, N, 8
    return x, x_len, torch.cat(ys), y_len, ys


class Reader(nn.Module):
    def __init__(self, hid=64):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(8, 48, 5, padding=2), nn.ReLU(), nn.Conv1d(48, 48, 5, padding=2), nn.ReLU())
        self.rnn = nn.GRU(48, hid, bidirectional=True)
        self.out = nn.Linear(2 * hid, NUM_DIGITS + 1)

    def forward(self, x, lens):
        h = self.conv(x.permute(1, 2, 0)).permute(2, 0, 1)
        p = nn.utils.rnn.pack_padded_sequence(h, lens, enforce_sorted=False)
        o, _ = nn.utils.rnn.pad_packed_sequence(self.rnn(p)[0])
        return self.out(o).log_softmax(-1)


def greedy(logp, lens):
    best = logp.argmax(-1).T
    res = []
    for row, n in zip(best, lens):
        s, prev = [], -1
        for k in row[:n].tolist():
            if k != prev and k != BLANK:
                s.append(k)
            prev = k
        res.append(s)
    return res


net = Reader()
ctc = nn.CTCLoss(blank=BLANK, zero_infinity=True)
opt = torch.optim.Adam(net.parameters(), lr=3e-3)
for it in range(1, 251):
    x, xl, y, yl, _ = batch(tr_i, 24)
    loss = ctc(net(x, xl), y, xl, yl)
    opt.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 5.0)
    opt.step()
    if it % 50 == 0:
        print(f"iter {it:4d}  ctc {loss.item():.4f}")

net.eval()
ok = tot = 0
with torch.no_grad():
    for _ in range(10):
        x, xl, y, yl, ys = batch(te_i, 40)
        for hyp, ref in zip(greedy(net(x, xl), xl.tolist()), ys):
            ok += hyp == ref.tolist()
            tot += 1
print(f"exact strings on held-out digits: {ok / tot:.3f}")
