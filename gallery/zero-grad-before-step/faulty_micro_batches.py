"""A convolutional network on digits that steps after every sixteen micro-batches."""
import torch
import torch.nn as nn
import torch.optim as optim
from sklearn import datasets, model_selection
from torch.utils.data import DataLoader, TensorDataset

BATCH, ACCUM, EPOCHS = 8, 16, 12
torch.manual_seed(0)

digits = datasets.load_digits()
X = digits.images[:, None].astype('float32') / 16.
X_tr, X_te, y_tr, y_te = model_selection.train_test_split(X, digits.target, test_size=0.2, random_state=0)
train_loader = DataLoader(TensorDataset(torch.from_numpy(X_tr), torch.from_numpy(y_tr)), batch_size=BATCH, shuffle=True, drop_last=True)
test_loader = DataLoader(TensorDataset(torch.from_numpy(X_te), torch.from_numpy(y_te)), batch_size=128)


class ConvNet(nn.Module):
    def __init__(self):
        super(ConvNet, self).__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(32 * 2 * 2, 10)

    def forward(self, x):
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        return self.fc(x.flatten(1))


net = ConvNet()
criterion = nn.CrossEntropyLoss()
optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True)
for epoch in range(EPOCHS):
    net.train()
    running_loss = 0.0
    for i, (inputs, labels) in enumerate(train_loader):
        optimizer.zero_grad()  # fault: erases what the micro-batches before have added
        outputs = net(inputs)
        loss = criterion(outputs, labels) / ACCUM
        loss.backward()
        running_loss += loss.item() * ACCUM
        if (i + 1) % ACCUM == 0 or i + 1 == len(train_loader):
            optimizer.step()
    net.eval()
    correct = total = 0
    with torch.no_grad():
        for inputs, labels in test_loader:
            predicted = net(inputs).argmax(dim=1)
            total += labels.size(0)
            correct += (predicted == labels).sum().item()
    print('[%d] loss: %.3f  test accuracy: %.2f %%' % (epoch + 1, running_loss / len(train_loader), 100 * correct / total))
