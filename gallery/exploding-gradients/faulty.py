"""Read a digit image four pixels at a time with a plain tanh recurrent network and name the digit."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class PixelRNN(nn.Module):
    def __init__(self, step_size=4, hidden_size=64, num_classes=10):
        super().__init__()
        self.step_size = step_size
        self.rnn = nn.RNN(step_size, hidden_size, batch_first=True)
        nn.init.orthogonal_(self.rnn.weight_hh_l0, gain=3.0)  # fault: recurrence that blows up
        self.fc = nn.Linear(hidden_size, num_classes)

    def forward(self, pixels):
        steps = pixels.unflatten(1, (-1, self.step_size))
        _, last_hidden = self.rnn(steps)
        return self.fc(last_hidden[-1])


def load_data(seed, val_fraction=0.2):
    X, y = load_digits(return_X_y=True)
    idx = np.random.RandomState(seed).permutation(len(y))
    cut = int(len(y) * val_fraction)
    val_idx, train_idx = idx[:cut], idx[cut:]
    X = (X - X[train_idx].mean()) / X[train_idx].std()
    tensors = torch.from_numpy(X.astype(np.float32)), torch.from_numpy(y)
    train = TensorDataset(*(t[train_idx] for t in tensors))
    val = TensorDataset(*(t[val_idx] for t in tensors))
    return train, val


def main():
    torch.manual_seed(1)
    train, val = load_data(seed=1)
    train_loader = DataLoader(train, batch_size=40, shuffle=True)
    val_loader = DataLoader(val, batch_size=40)
    model = PixelRNN()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    for epoch in range(1, 7):
        model.train()
        train_loss = 0.0
        for pixels, digit in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(pixels), digit)
            loss.backward()
            optimizer.step()
            train_loss += loss.item() * digit.size(0)
        train_loss /= len(train)

        model.eval()
        val_loss, correct = 0.0, 0
        with torch.no_grad():
            for pixels, digit in val_loader:
                logits = model(pixels)
                val_loss += criterion(logits, digit).item() * digit.size(0)
                correct += (logits.argmax(1) == digit).sum().item()
        val_loss, accuracy = val_loss / len(val), correct / len(val)
        print(f"epoch {epoch}: train loss {train_loss:.3f}, val loss {val_loss:.3f}, val accuracy {accuracy:.3f}")

    print(f"final val accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
