"""A transformer encoder that tells which of two markers comes first."""
import math, random
import torch
import torch.nn as nn

random.seed(21); torch.manual_seed(21)
device = torch.device("cpu")


class PositionalEncoding(nn.Module):
    def __init__(self, d_model, dropout=0.1, max_len=500):
        super().__init__()
        self.dropout = nn.Dropout(p=dropout)
        position = torch.arange(max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(1, max_len, d_model)
        pe[0, :, 0::2] = torch.sin(position * div_term)
        pe[0, :, 1::2] = torch.cos(position * div_term)
        self.register_buffer('pe', pe)

    def forward(self, x):
        x = x + self.pe[:, :x.size(1)]
        return self.dropout(x)


class Classifier(nn.Module):
    def __init__(self, ntoken, d_model, nhead, d_hid, nlayers, nclass):
        super().__init__()
        self.d_model = d_model
        self.embedding = nn.Embedding(ntoken, d_model)
        self.pos_encoder = PositionalEncoding(d_model)
        enc = nn.TransformerEncoderLayer(d_model, nhead, d_hid, 0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(enc, nlayers)
        self.linear = nn.Linear(d_model, nclass)

    def forward(self, src):
        x = self.embedding(src) * math.sqrt(self.d_model)
        x = self.pos_encoder(x)
        return self.linear(self.encoder(x).mean(1))


def make(n, T=12, V=8):
    # class: which of the two marker tokens comes first / is the gap large
    xs, ys = [], []
    for _ in range(n):
        s = [random.randrange(2, V) for _ in range(T)]
        i, j = random.sample(range(T), 2)
        s[i], s[j] = 0, 1
        xs.append(s); ys.append(int(i < j))
    return torch.tensor(xs), torch.tensor(ys)


X, y = make(3000)
Xv, yv = make(500)
model = Classifier(8, 32, 4, 64, 2, 2).to(device)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5, gamma=0.5)


def evaluate():
    model.eval()
    with torch.no_grad():
        out = torch.cat([model(b) for b in Xv.split(100)])
    return criterion(out, yv).item(), (out.argmax(1) == yv).float().mean().item()


for epoch in range(1, 11):
    model.train()
    total_loss = 0.
    for i in torch.randperm(len(X)).split(100):
        optimizer.zero_grad()
        loss = criterion(model(X[i].to(device)), y[i].to(device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total_loss += loss.item()
    scheduler.step()
    vl, va = evaluate()
    print('| epoch {:3d} | train loss {:5.3f} | valid loss {:5.3f} | acc {:.3f}'.format(epoch, total_loss / 30, vl, va))
