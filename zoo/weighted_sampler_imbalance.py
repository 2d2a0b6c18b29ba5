"""Find the rare class (digit 8, about 6 percent) with a WeightedRandomSampler; judged by recall and precision."""
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import f1_score, precision_score, recall_score
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

torch.manual_seed(88)

digits = load_digits()
is_eight = (digits.target == 8).astype("int64")
# thin the rare class out a little more
rows = [i for i in range(len(is_eight)) if not is_eight[i] or i % 3]
train_rows, test_rows = train_test_split(rows, test_size=0.3, random_state=88, stratify=is_eight[rows])

mean = digits.data[train_rows].mean()
std = digits.data[train_rows].std()


def make_set(r):
    return TensorDataset(torch.tensor((digits.data[r] - mean) / std, dtype=torch.float32), torch.tensor(is_eight[r]))


train_set, test_set = make_set(train_rows), make_set(test_rows)
train_y = train_set.tensors[1]
class_count = torch.bincount(train_y)
print("class counts", class_count.tolist(), "share of the rare class %.3f" % (class_count[1] / len(train_y)))

sample_weights = (1.0 / class_count)[train_y].double()
sampler = WeightedRandomSampler(sample_weights, num_samples=len(train_y), replacement=True)
train_loader = DataLoader(train_set, batch_size=64, sampler=sampler)
test_loader = DataLoader(test_set, batch_size=256)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(64, 48), nn.ReLU(), nn.Dropout(0.2),
            nn.Linear(48, 24), nn.ReLU(),
            nn.Linear(24, 2),
        )

    def forward(self, x):
        return self.net(x)


model = Classifier()
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

for epoch in range(8):
    model.train()
    total_loss = n = rare = 0
    for xb, yb in train_loader:
        optimizer.zero_grad()
        loss = loss_fn(model(xb), yb)
        loss.backward()
        optimizer.step()
        total_loss += loss.item() * len(yb)
        n += len(yb)
        rare += int(yb.sum())
    model.eval()
    predicted, truth = [], []
    with torch.no_grad():
        for xb, yb in test_loader:
            predicted.append(model(xb).argmax(1))
            truth.append(yb)
    predicted, truth = torch.cat(predicted).numpy(), torch.cat(truth).numpy()
    print(f"epoch {epoch} loss {total_loss / n:.4f} rare drawn {rare / n:.3f} recall {recall_score(truth, predicted):.3f} "
          f"precision {precision_score(truth, predicted):.3f}")

print(f"F1 {f1_score(truth, predicted):.4f}")
