"""Short motifs: which of four patterns of five steps is it?"""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

DEVICE = torch.device("cpu")
hidden_size, num_layers, batch_size, num_epochs, learning_rate = 64, 3, 64, 12, 2e-3


def make(n, seed):
    g = torch.Generator().manual_seed(seed)
    shapes = torch.tensor([[0.2, 0.6, 1.0, 0.6, 0.2], [1.0, 0.6, 0.2, 0.6, 1.0], [0.2, 0.4, 0.6, 0.8, 1.0], [1.0, 0.8, 0.6, 0.4, 0.2]])
    y = torch.randint(0, 4, (n,), generator=g)
    x = shapes[y] * (0.8 + 0.4 * torch.rand(n, 1, generator=g)) + 0.25 * torch.randn(n, 5, generator=g)
    return x.unsqueeze(-1), y


class RNN(nn.Module):
    def __init__(self, input_size, hidden_size, num_layers, num_classes):
        super(RNN, self).__init__()
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.lstm = nn.LSTM(input_size, hidden_size, num_layers, batch_first=True)
        self.fc = nn.Linear(hidden_size, num_classes)

    def forward(self, x):
        # Set initial hidden and cell states
        h0 = torch.randn(self.num_layers, x.size(0), self.hidden_size).to(DEVICE)  # fault: noise
        c0 = torch.randn(self.num_layers, x.size(0), self.hidden_size).to(DEVICE)
        out, _ = self.lstm(x, (h0, c0))
        return self.fc(out[:, -1, :])


torch.manual_seed(0)
train_loader = DataLoader(TensorDataset(*make(4000, 0)), batch_size=batch_size, shuffle=True)
test_loader = DataLoader(TensorDataset(*make(1000, 1)), batch_size=batch_size, shuffle=False)
model = RNN(1, hidden_size, num_layers, 4).to(DEVICE)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)

total_step = len(train_loader)
for epoch in range(num_epochs):
    for i, (seqs, labels) in enumerate(train_loader):
        outputs = model(seqs.to(DEVICE))
        loss = criterion(outputs, labels.to(DEVICE))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("Epoch [{}/{}], Loss: {:.4f}".format(epoch + 1, num_epochs, loss.item()))

model.eval()
with torch.no_grad():
    correct = total = 0
    for seqs, labels in test_loader:
        predicted = model(seqs.to(DEVICE)).argmax(1)
        total += labels.size(0)
        correct += (predicted == labels).sum().item()
    print("Test Accuracy: {} %".format(100 * correct / total))
