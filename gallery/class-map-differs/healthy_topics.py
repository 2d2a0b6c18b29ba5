"""Short notes about six topics, as bags of words; every note comes with the name of its topic."""
import random

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

TOPICS = ["garden", "harbour", "kitchen", "market", "school", "workshop"]
WORDS = 300
random.seed(12)
torch.manual_seed(12)
weights = {topic: [random.expovariate(1.0) ** 3 for _ in range(WORDS)] for topic in TOPICS}


def write(count):
    notes = []
    for _ in range(count):
        topic = random.choice(TOPICS)
        notes.append((random.choices(range(WORDS), weights[topic], k=random.randint(6, 14)), topic))
    return notes


class Notes(Dataset):
    def __init__(self, notes):
        self.words = [words for words, _ in notes]
        names = [topic for _, topic in notes]
        known = sorted(set(names))
        self.labels = [known.index(name) for name in names]

    def __len__(self):
        return len(self.words)

    def __getitem__(self, i):
        return self.words[i], self.labels[i]


def together(batch):
    flat = [word for words, _ in batch for word in words]
    starts = [0]
    for words, _ in batch[:-1]:
        starts.append(starts[-1] + len(words))
    return torch.tensor(flat), torch.tensor(starts), torch.tensor([label for _, label in batch])


class Topics(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag = nn.EmbeddingBag(WORDS, 32)
        self.answer = nn.Linear(32, len(TOPICS))

    def forward(self, words, starts):
        return self.answer(self.bag(words, starts))


train = DataLoader(Notes(write(1500)), batch_size=30, shuffle=True, collate_fn=together)
test = DataLoader(Notes(write(400)), batch_size=100, collate_fn=together)
net = Topics()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
for epoch in range(6):
    net.train()
    total = 0.0
    for words, starts, labels in train:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(words, starts), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
    net.eval()
    with torch.no_grad():
        right = sum((net(words, starts).argmax(1) == labels).sum().item() for words, starts, labels in test)
    print(f"epoch {epoch}: loss {total / len(train):.3f}, right {right / len(test.dataset):.3f}")
