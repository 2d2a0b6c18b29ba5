"""Train a network with tanh units to read handwritten digits."""
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

SEED, EPOCHS, BATCH_SIZE = 5, 10, 32


def initialise(module):
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class TanhNet(nn.Module):
    def __init__(self, sizes=(64, 48, 32, 10)):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:])])
        self.apply(initialise)

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(x))
        return self.layers[-1](x)


def get_data():
    x, y = load_digits(return_X_y=True)
    x_tr, x_va, y_tr, y_va = train_test_split(x, y, test_size=0.2, stratify=y, random_state=SEED)
    mu, sd = x_tr.mean(), x_tr.std()
    pack = lambda a, b: TensorDataset(torch.tensor((a - mu) / sd).float(), torch.tensor(b))
    return pack(x_tr, y_tr), pack(x_va, y_va)


def loss_batch(model, xb, yb, opt=None):
    out = model(xb)
    loss = F.cross_entropy(out, yb)
    if opt is not None:
        loss.backward()
        opt.step()
        opt.zero_grad()
    return loss.item(), (out.argmax(1) == yb).sum().item(), len(xb)


def fit(epochs, model, opt, train_dl, valid_dl):
    for epoch in range(epochs):
        model.train()
        for xb, yb in train_dl:
            loss_batch(model, xb, yb, opt)
        model.eval()
        with torch.no_grad():
            losses, hits, nums = zip(*[loss_batch(model, xb, yb) for xb, yb in valid_dl])
        val_loss = sum(l * n for l, n in zip(losses, nums)) / sum(nums)
        val_acc = sum(hits) / sum(nums)
        print(epoch, f"{val_loss:.4f}", f"{val_acc:.4f}")
    return val_acc


torch.manual_seed(SEED)
train_ds, valid_ds = get_data()
train_dl = DataLoader(train_ds, batch_size=BATCH_SIZE, shuffle=True)
valid_dl = DataLoader(valid_ds, batch_size=BATCH_SIZE * 2)
model = TanhNet()
accuracy = fit(EPOCHS, model, optim.Adam(model.parameters(), lr=1e-3), train_dl, valid_dl)
print(f"final accuracy {accuracy:.4f}")
