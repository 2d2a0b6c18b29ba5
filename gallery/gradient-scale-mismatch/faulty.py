"""Semi-supervised digits: few labels for the classifier, all images for a decoder, in float16 with a gradient scaler."""
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)


class TwoHeads(nn.Module):
    def __init__(self, width=64, code=24):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, code), nn.ReLU())
        self.classifier = nn.Linear(code, 10)
        self.decoder = nn.Sequential(nn.Linear(code, width), nn.ReLU(), nn.Linear(width, 64))

    def forward(self, x):
        code = self.encoder(x)
        return self.classifier(code), self.decoder(code)


class Trainer:
    def __init__(self, model, lr=0.2):
        self.model = model
        self.optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
        self.cross_entropy = nn.CrossEntropyLoss()
        self.mse = nn.MSELoss()

    def step(self, labelled, unlabelled):
        (x, y), (u,) = labelled, unlabelled
        self.optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            logits, _ = self.model(x)
            _, rebuilt = self.model(u)
        supervised = self.cross_entropy(logits.float(), y)
        reconstruction = self.mse(rebuilt.float(), u)
        self.scaler.scale(supervised).backward()
        reconstruction.backward()  # fault: not scaled, but divided by the scaler's factor before the step all the same
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return supervised.item(), reconstruction.item()

    @torch.no_grad()
    def evaluate(self, x, y):
        self.model.eval()
        logits, rebuilt = self.model(x)
        self.model.train()
        return (logits.argmax(1) == y).float().mean().item(), self.mse(rebuilt, x).item()


images, digits = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(images / 16, digits, test_size=0.3, stratify=digits, random_state=1)
x_train, x_test = (torch.tensor(a, dtype=torch.float32) for a in (x_train, x_test))
y_train, y_test = torch.tensor(y_train), torch.tensor(y_test)

few = torch.randperm(len(x_train))[:400]
labelled = DataLoader(TensorDataset(x_train[few], y_train[few]), batch_size=25, shuffle=True)
unlabelled = DataLoader(TensorDataset(x_train), batch_size=75, shuffle=True, drop_last=True)

trainer = Trainer(TwoHeads())
for epoch in range(15):
    for both in zip(labelled, unlabelled):
        losses = trainer.step(*both)
    accuracy, error = trainer.evaluate(x_test, y_test)
    if epoch % 5 == 4:
        print(f"epoch {epoch}: cross-entropy {losses[0]:.3f} reconstruction {losses[1]:.4f} accuracy {accuracy:.3f} test mse {error:.4f}")
