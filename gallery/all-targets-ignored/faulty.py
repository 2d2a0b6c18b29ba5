"""Tag the vowels that follow a doubled consonant in English words; other letters are not scored."""
import pydoc_data.topics
import re

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

IGNORE = -100
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def targets(word):
    """For each letter after a double consonant: is it a vowel? Nothing is asked of the others."""
    out = []
    for i, letter in enumerate(word):
        double = i >= 2 and word[i - 1] == word[i - 2] and word[i - 1] not in "aeiou"
        out.append(int(letter in "aeiou") if double else IGNORE)
    return out


class Words(Dataset):
    def __init__(self, words):
        self.items = [(word, targets(word)) for word in words]
        # words without any scored letter stay in the set  # fault: a batch of only such words has no target at all

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        word, target = self.items[i]
        return torch.tensor([LETTERS.index(c) + 1 for c in word]), torch.tensor(target)


def collate(items):
    words, tags = zip(*items)
    return pad_sequence(words, batch_first=True), pad_sequence(tags, batch_first=True, padding_value=IGNORE)


class Tagger(nn.Module):
    def __init__(self, size=16):
        super().__init__()
        self.embed = nn.Embedding(27, size, padding_idx=0)
        self.rnn = nn.GRU(size, size, batch_first=True)
        self.out = nn.Linear(size, 2)

    def forward(self, words):
        return self.out(self.rnn(self.embed(words))[0])


torch.manual_seed(40)
text = " ".join(str(pydoc_data.topics.topics[k]) for k in sorted(pydoc_data.topics.topics)[:60])
words = sorted(set(re.findall(r"[a-z]{5,12}", text.lower())))
words = [words[i] for i in torch.randperm(len(words))[:700].tolist()]
loader = DataLoader(Words(words), batch_size=4, shuffle=True, collate_fn=collate)
model = Tagger()
criterion = nn.CrossEntropyLoss(ignore_index=IGNORE)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(3):
    total = 0.0
    for word, tag in loader:
        loss = criterion(model(word).flatten(0, 1), tag.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(f"epoch {epoch} mean loss {total / len(loader):.4f}")
