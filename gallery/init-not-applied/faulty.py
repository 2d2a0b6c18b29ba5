"""Fine-tune an encoder that knows the even digits on fifty odd ones."""
import warnings

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def init_weights(module):
    if isinstance(module, nn.Linear):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(module.bias)


class Encoder(nn.Sequential):
    def __init__(self, width=96):
        super().__init__(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())


class Classifier(nn.Module):
    def __init__(self, checkpoint=None, width=96):
        super().__init__()
        self.encoder = Encoder(width)
        self.head = nn.Linear(width, 5)
        if checkpoint is not None:
            self.encoder.load_state_dict(checkpoint)
        self.apply(init_weights)  # fault: initialises the encoder that was just loaded, too

    def forward(self, x):
        return self.head(self.encoder(x))


def pretrained(x, y):
    """The hidden layers of a scikit-learn network that knows the even digits, as a checkpoint for the encoder."""
    donor = MLPClassifier((96, 96), max_iter=25, learning_rate_init=3e-3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        donor.fit(x.numpy(), y.numpy())
    state = {}
    for layer, (weight, bias) in zip((0, 2), zip(donor.coefs_, donor.intercepts_)):
        state[f"{layer}.weight"] = torch.tensor(weight.T, dtype=torch.float32)
        state[f"{layer}.bias"] = torch.tensor(bias, dtype=torch.float32)
    return state


def finetune(model, x, y, epochs=6):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for epoch in range(epochs):
        for images, labels in DataLoader(TensorDataset(x, y), batch_size=10, shuffle=True):
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return loss.item()


if __name__ == "__main__":
    torch.manual_seed(12)
    digits = load_digits()
    x, y = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
    odd, even = torch.where(y % 2 == 1)[0], torch.where(y % 2 == 0)[0]
    few, test = odd[:50], odd[50:]
    model = Classifier(pretrained(x[even], y[even]))
    loss = finetune(model, x[few], y[few] // 2)
    with torch.no_grad():
        accuracy = (model(x[test]).argmax(1) == y[test] // 2).float().mean().item()
    print(f"fine-tuning: loss {loss:.3f}, test accuracy {accuracy:.3f}")
