"""Which help page does a line come from? Lines of different length are padded by a collate function."""

import pydoc_data.topics

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

PAGES = ("debugger", "lambda", "formatstrings", "exceptions")


class Lines(Dataset):
    def __init__(self, pages):
        self.rows = []
        for label, page in enumerate(pages):
            for line in pydoc_data.topics.topics.get(page, "").splitlines():
                if len(line.split()) >= 4:
                    self.rows.append((line.lower().split()[:20], label))
        words = sorted({w for row, _ in self.rows for w in row})
        self.vocabulary = {w: i for i, w in enumerate(words, start=1)}

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        words, label = self.rows[i]
        return torch.tensor([self.vocabulary[w] for w in words]), label


def collate(examples):
    for ids, label in examples:
        tokens, labels = [], []  # fault: started anew for each example, so only the last is left
        tokens.append(ids)
        labels.append(label)
    return pad_sequence(tokens, batch_first=True), torch.tensor(labels)


class BagOfWords(nn.Module):
    def __init__(self, size, classes, width=24):
        super().__init__()
        self.embedding = nn.EmbeddingBag(size + 1, width, padding_idx=0, mode="mean")
        self.classify = nn.Linear(width, classes)

    def forward(self, tokens):
        return self.classify(self.embedding(tokens))


def main():
    torch.manual_seed(19)
    lines = Lines(PAGES)
    train, test = torch.utils.data.random_split(lines, [0.8, 0.2])
    train_loader = DataLoader(train, batch_size=16, shuffle=True, collate_fn=collate)
    test_loader = DataLoader(test, batch_size=1)
    model = BagOfWords(len(lines.vocabulary), len(PAGES))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(4):
        model.train()
        used = 0
        for tokens, labels in train_loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(tokens), labels)
            loss.backward()
            optimizer.step()
            used += len(labels)
        model.eval()
        with torch.no_grad():
            right = sum((model(tokens).argmax(1) == label).item() for tokens, label in test_loader)
        print(f"epoch {epoch}: trained on {used} of {len(train)} lines, {right} of {len(test)} test lines right")


if __name__ == "__main__":
    main()
