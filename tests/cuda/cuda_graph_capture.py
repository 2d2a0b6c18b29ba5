"""Regression on diabetes progression with the whole training step captured in one CUDA graph.

Follows "Whole-network capture" in the notes on CUDA semantics: batches are copied into static tensors, then replayed.
"""

import torch
from sklearn.datasets import load_diabetes
from torch import nn

torch.manual_seed(21)
BATCH, EPOCHS = 32, 20

X, y = load_diabetes(return_X_y=True, scaled=False)
X, y = torch.tensor(X, dtype=torch.float32), torch.tensor(y, dtype=torch.float32).unsqueeze(1)
perm = torch.randperm(len(X))
train_idx, val_idx = perm[:352], perm[352:]
x_mean, x_std = X[train_idx].mean(0), X[train_idx].std(0)
y_mean, y_std = y[train_idx].mean(), y[train_idx].std()
X, y = ((X - x_mean) / x_std).cuda(), ((y - y_mean) / y_std).cuda()
train_idx, val_idx = train_idx.cuda(), val_idx.cuda()

model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)).cuda()
loss_fn = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, capturable=True)

static_input = torch.empty(BATCH, X.shape[1], device="cuda")
static_target = torch.empty(BATCH, 1, device="cuda")


def load_batch(rows):
    static_input.copy_(X[rows])
    static_target.copy_(y[rows])


# warm up on a side stream, with real batches
side = torch.cuda.Stream()
side.wait_stream(torch.cuda.current_stream())
with torch.cuda.stream(side):
    for i in range(3):
        load_batch(train_idx[i * BATCH : (i + 1) * BATCH])
        optimizer.zero_grad(set_to_none=True)
        loss_fn(model(static_input), static_target).backward()
        optimizer.step()
torch.cuda.current_stream().wait_stream(side)

# capture: gradients are allocated from the graph's private pool and overwritten by each replay
graph = torch.cuda.CUDAGraph()
optimizer.zero_grad(set_to_none=True)
with torch.cuda.graph(graph):
    static_loss = loss_fn(model(static_input), static_target)
    static_loss.backward()
    optimizer.step()

for epoch in range(EPOCHS):
    model.train()
    epoch_loss = torch.zeros((), device="cuda")
    shuffled = train_idx[torch.randperm(len(train_idx), device="cuda")]
    for rows in shuffled.split(BATCH):
        load_batch(rows)
        graph.replay()
        epoch_loss += static_loss.detach()
    if (epoch + 1) % 5 == 0:
        model.eval()
        with torch.no_grad():
            val_pred = model(X[val_idx])
            val_loss = loss_fn(val_pred, y[val_idx]).item()
        print(f"epoch {epoch + 1}: train {epoch_loss.item() / (len(train_idx) // BATCH):.4f}, val {val_loss:.4f}")
