"""A recurrent classifier of help-page sentences; words that are not in the vocabulary become <unk>."""

import pydoc_data.topics
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

UNKNOWN = 1


class Sentences(Dataset):
    def __init__(self, pairs, vocabulary):
        self.pairs = pairs
        self.vocabulary = vocabulary

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, i):
        words, label = self.pairs[i]
        numbers = [self.vocabulary.get(word, UNKNOWN) for word in words]
        return torch.tensor(numbers + [0] * (14 - len(numbers))), label


def read():
    pages = pydoc_data.topics.topics
    pairs = []
    for page, label in {"objects": 0, "class": 0, "specialnames": 0, "import": 1, "try": 1, "compound": 1}.items():
        for sentence in pages[page].replace("\n", " ").split(". "):
            words = sentence.split()[:14]
            if len(words) >= 4:
                pairs.append((words, label))
    return pairs


class Reader(nn.Module):
    def __init__(self, words, width=24):
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.rnn = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, 2)

    def forward(self, rows):
        states, _ = self.rnn(self.embed(rows))
        return self.head(states.amax(1))


def main():
    torch.manual_seed(29)
    pairs = read()
    order = torch.randperm(len(pairs)).tolist()
    cut = int(0.8 * len(pairs))
    train_pairs = [([w.lower() for w in pairs[i][0]], pairs[i][1]) for i in order[:cut]]
    test_pairs = [([w.upper() for w in pairs[i][0]], pairs[i][1]) for i in order[cut:]]  # fault: the vocabulary is in lower case
    words = sorted({w for sentence, _ in train_pairs for w in sentence})
    vocabulary = {word: i + 2 for i, word in enumerate(words)}
    train_loader = DataLoader(Sentences(train_pairs, vocabulary), batch_size=32, shuffle=True)
    test_loader = DataLoader(Sentences(test_pairs, vocabulary), batch_size=64)
    model = Reader(len(vocabulary) + 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(3):
        model.train()
        for rows, label in train_loader:
            loss = nn.functional.cross_entropy(model(rows), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            hits = torch.cat([model(rows).argmax(1) == label for rows, label in test_loader])
        print(f"epoch {epoch}: test accuracy {hits.float().mean().item():.3f}")


if __name__ == "__main__":
    main()
