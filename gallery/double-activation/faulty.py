"""Wine cultivars from their chemistry: a multilayer perceptron built from a list of sizes and activations."""
import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

SIZES = [13, 40, 24]
ACTIVATION = lambda: nn.Softmax(dim=1)  # fault: softmax as the activation of hidden layers


class Perceptron(nn.Module):
    def __init__(self, sizes, n_classes):
        super().__init__()
        layers = []
        for n_in, n_out in zip(sizes, sizes[1:]):
            layers.append(nn.Linear(n_in, n_out))
            layers.append(ACTIVATION())
        self.hidden = nn.Sequential(*layers)
        self.output = nn.Linear(sizes[-1], n_classes)

    def forward(self, x):
        return self.output(self.hidden(x))


def loaders(batch_size=16):
    x, y = load_wine(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, stratify=y, random_state=3)
    scaler = StandardScaler().fit(x_train)

    def loader(x, y, shuffle):
        data = TensorDataset(torch.tensor(scaler.transform(x), dtype=torch.float32), torch.tensor(y))
        return DataLoader(data, batch_size=batch_size, shuffle=shuffle)

    return loader(x_train, y_train, True), loader(x_test, y_test, False)


def main():
    torch.manual_seed(3)
    train_loader, test_loader = loaders()
    model = Perceptron(SIZES, 3)
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    loss_fn = nn.CrossEntropyLoss()
    for epoch in range(1, 21):
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
        if epoch % 5 == 0:
            model.eval()
            with torch.no_grad():
                hits = [(model(x).argmax(1) == y).sum().item() for x, y in test_loader]
            print(f"epoch {epoch}: loss {loss.item():.3f}, test accuracy {sum(hits) / len(test_loader.dataset):.3f}")


if __name__ == "__main__":
    main()
