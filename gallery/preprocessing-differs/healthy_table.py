"""Tell wines apart by thirteen measurements, with batches cut by hand."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler


def prepare():
    x, y = load_wine(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=60, random_state=0)
    scaler = StandardScaler()
    x_train = scaler.fit_transform(x_train)
    x_test = scaler.transform(x_test)
    as_float = [torch.tensor(a, dtype=torch.float32) for a in (x_train, x_test)]
    return as_float[0], torch.tensor(y_train), as_float[1], torch.tensor(y_test)


def batches(n, size):
    order = torch.randperm(n)
    for i in range(0, n, size):
        yield order[i : i + size]


def main():
    torch.manual_seed(14)
    x_train, y_train, x_test, y_test = prepare()
    net = torch.nn.Sequential(
        torch.nn.Linear(13, 20), torch.nn.SiLU(), torch.nn.Linear(20, 20), torch.nn.SiLU(), torch.nn.Linear(20, 3)
    )
    optimizer = torch.optim.RMSprop(net.parameters(), lr=2e-3)
    for epoch in range(30):
        for rows in batches(len(x_train), 16):
            loss = F.cross_entropy(net(x_train[rows]), y_train[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 5 == 4:
            with torch.no_grad():
                logits = net(x_test)
                test_loss = F.cross_entropy(logits, y_test)
                right = (logits.argmax(1) == y_test).float().mean()
            print(f"epoch {epoch + 1}: train {loss:.3f}, test {test_loss:.3f}, accuracy {right:.2f}")


main()
