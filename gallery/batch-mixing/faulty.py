"""Read digits with one shared encoder for the upper and the lower half of the picture."""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, Dataset


class Digits(Dataset):
    def __init__(self, images, labels):
        self.images = images
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        image = torch.from_numpy(self.images[i]).float().unsqueeze(0)
        return (image - 4.9) / 6.0, int(self.labels[i])


class HalvesNet(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 12, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(12, 12, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(12 * 4 * 8, dim),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(2 * dim, 10)

    def forward(self, image):
        halves = image.reshape(-1, 1, 4, 8)  # upper and lower half of every picture
        codes = self.encoder(halves)
        both = torch.cat(codes.chunk(2), dim=1)  # fault: joins halves of different pictures
        return self.classifier(both)


def run_epoch(net, loader, criterion, optimizer=None):
    training = optimizer is not None
    net.train(training)
    loss_sum, correct, seen = 0.0, 0, 0
    with torch.set_grad_enabled(training):
        for image, label in loader:
            logits = net(image)
            loss = criterion(logits, label)
            if training:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            loss_sum += loss.item() * len(label)
            correct += (logits.argmax(1) == label).sum().item()
            seen += len(label)
    return loss_sum / seen, correct / seen


def main():
    torch.manual_seed(19)
    data = load_digits()
    x_train, x_val, y_train, y_val = train_test_split(
        data.images, data.target, test_size=300, stratify=data.target, random_state=19
    )
    train_loader = DataLoader(Digits(x_train, y_train), batch_size=32, shuffle=True)
    val_loader = DataLoader(Digits(x_val, y_val), batch_size=50)

    net = HalvesNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for epoch in range(1, 7):
        train_loss, train_acc = run_epoch(net, train_loader, criterion, optimizer)
        val_loss, val_acc = run_epoch(net, val_loader, criterion)
        print(f"epoch {epoch}: train {train_loss:.3f}/{train_acc:.3f}  val {val_loss:.3f}/{val_acc:.3f}")
    print(f"final val accuracy {val_acc:.3f}")


if __name__ == "__main__":
    main()
