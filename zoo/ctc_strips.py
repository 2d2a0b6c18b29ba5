"""Read strips of handwritten digits without alignment: a small BiGRU with CTC loss and greedy decoding."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

BLANK = 0


class Strips(Dataset):
    """2 or 3 digit images side by side; a time step is a pixel column"""

    def __init__(self, images, labels, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.items = []
        for _ in range(n):
            k = int(torch.randint(2, 4, (1,), generator=g))
            which = torch.randint(0, len(labels), (k,), generator=g)
            strip = torch.cat([images[i] for i in which], dim=1).T.contiguous()
            self.items.append((strip, labels[which] + 1))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def collate(batch):
    strips, labels = zip(*batch)
    lengths = torch.tensor([len(s) for s in strips])
    return (nn.utils.rnn.pad_sequence(strips, batch_first=True), lengths // 2, torch.cat(labels),
            torch.tensor([len(t) for t in labels]))


class Reader(nn.Module):
    def __init__(self, hidden=24):
        super().__init__()
        self.conv = nn.Conv1d(8, 48, kernel_size=6, stride=2, padding=2)
        self.rnn = nn.GRU(48, hidden, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * hidden, 11)

    def forward(self, strips):
        h = torch.relu(self.conv(strips.transpose(1, 2))).transpose(1, 2)
        return self.out(self.rnn(h)[0]).log_softmax(-1)


def greedy(log_probs, length):
    best = log_probs[:length].argmax(-1)
    best = torch.unique_consecutive(best)
    return best[best != BLANK].tolist()


def evaluate(model, loader):
    model.eval()
    right = total = 0
    with torch.no_grad():
        for strips, lengths, labels, label_lengths in loader:
            log_probs = model(strips)
            for row, n, truth in zip(log_probs, lengths, labels.split(label_lengths.tolist())):
                right += greedy(row, n) == truth.tolist()
                total += 1
    return right / total


def main():
    torch.manual_seed(29)
    digits = load_digits()
    images, labels = torch.tensor(digits.images, dtype=torch.float32), torch.tensor(digits.target)
    order = torch.randperm(len(labels))
    tr, va = order[:1400], order[1400:]
    images = (images - images[tr].mean()) / images[tr].std()
    train_loader = DataLoader(Strips(images[tr], labels[tr], 600, 1), batch_size=20, shuffle=True, collate_fn=collate)
    valid_loader = DataLoader(Strips(images[va], labels[va], 150, 2), batch_size=100, collate_fn=collate)
    model = Reader()
    ctc = nn.CTCLoss(blank=BLANK)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(7):
        model.train()
        loss_sum, n = 0.0, 0
        for strips, lengths, targets, target_lengths in train_loader:
            loss = ctc(model(strips).transpose(0, 1), targets, lengths, target_lengths)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            loss_sum += loss.item() * len(strips)
            n += len(strips)
        print(f"epoch {epoch}: ctc {loss_sum / n:.4f}, whole strips right {evaluate(model, valid_loader):.3f}")
    print("done")


if __name__ == "__main__":
    main()
