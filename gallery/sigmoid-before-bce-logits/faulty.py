"""Train a network that tells malignant from benign breast tumours."""
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class TumourNet(nn.Module):
    def __init__(self, n_features, width=32):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(n_features, width),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(width, width),
            nn.ReLU(),
        )
        self.head = nn.Linear(width, 1)

    def forward(self, x):
        return torch.sigmoid(self.head(self.body(x))).squeeze(1)  # fault: BCEWithLogitsLoss expects logits


class Trainer:
    def __init__(self, model, train_loader, val_loader, lr=1e-3):
        self.model = model
        self.train_loader = train_loader
        self.val_loader = val_loader
        self.loss = nn.BCEWithLogitsLoss()
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr)

    def fit(self, epochs):
        history = []
        for epoch in range(epochs):
            self.run_epoch()
            metrics = self.validate()
            history.append(metrics)
            print(f"epoch {epoch + 1:2d} | val loss {metrics['loss']:.4f} | val AUC {metrics['auc']:.4f}")
        return history

    def run_epoch(self):
        self.model.train()
        for features, target in self.train_loader:
            self.optimizer.zero_grad()
            loss = self.loss(self.model(features), target)
            loss.backward()
            self.optimizer.step()

    @torch.no_grad()
    def validate(self):
        self.model.eval()
        scores, targets = [], []
        for features, target in self.val_loader:
            scores.append(self.model(features))
            targets.append(target)
        scores, targets = torch.cat(scores), torch.cat(targets)
        return {"loss": self.loss(scores, targets).item(), "auc": roc_auc_score(targets.numpy(), scores.numpy())}


def load_data(seed):
    data = load_breast_cancer()
    malignant = (data.target == 0).astype("float32")
    x_train, x_val, y_train, y_val = train_test_split(
        data.data, malignant, test_size=0.25, stratify=malignant, random_state=seed
    )
    scaler = StandardScaler().fit(x_train)
    x_train, x_val = (torch.tensor(scaler.transform(x), dtype=torch.float32) for x in (x_train, x_val))
    train = TensorDataset(x_train, torch.tensor(y_train))
    val = TensorDataset(x_val, torch.tensor(y_val))
    return DataLoader(train, batch_size=32, shuffle=True), DataLoader(val, batch_size=64)


if __name__ == "__main__":
    torch.manual_seed(3)
    train_loader, val_loader = load_data(seed=3)
    trainer = Trainer(TumourNet(n_features=30), train_loader, val_loader)
    history = trainer.fit(epochs=15)
    print(f"final validation loss {history[-1]['loss']:.4f}, AUC {history[-1]['auc']:.4f}")
