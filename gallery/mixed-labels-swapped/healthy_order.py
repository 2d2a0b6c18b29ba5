"""Which of three cultivars a wine comes from; training examples are blended in pairs, with soft labels."""
import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.distributions import Beta

CONFIG = {"lr": 5e-3, "epochs": 60, "batch": 32, "alpha": 0.4}


def soft_cross_entropy(logits, soft):
    return -(soft * logits.log_softmax(1)).sum(1).mean()


class Blender:
    def __init__(self, alpha, classes):
        self.beta = Beta(alpha, alpha)
        self.classes = classes

    def __call__(self, x, y):
        weight = self.beta.sample().item()
        onehot = nn.functional.one_hot(y, self.classes).float()
        order = torch.randperm(len(x))
        x = weight * x + (1 - weight) * x[order]
        onehot = weight * onehot + (1 - weight) * onehot[order]
        return x, onehot


def main():
    torch.manual_seed(4)
    wine = load_wine()
    order = torch.randperm(len(wine.target))
    train, test = order[:130], order[130:]
    scaler = StandardScaler().fit(wine.data[train])
    x = torch.tensor(scaler.transform(wine.data), dtype=torch.float32)
    y = torch.tensor(wine.target)
    net = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = torch.optim.Adam(net.parameters(), lr=CONFIG["lr"])
    blend = Blender(CONFIG["alpha"], 3)
    for epoch in range(CONFIG["epochs"]):
        net.train()
        total = 0.0
        for i in train[torch.randperm(len(train))].split(CONFIG["batch"]):
            inputs, labels = blend(x[i], y[i])
            loss = soft_cross_entropy(net(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(i)
        if epoch % 20 == 19:
            net.eval()
            with torch.no_grad():
                right = (net(x[test]).argmax(1) == y[test]).sum().item()
            print(f"epoch {epoch + 1}: loss {total / len(train):.3f}, {right} of {len(test)} right")


if __name__ == "__main__":
    main()
