"""Which chapter of the Python reference does a sentence come from? A small transformer over words."""
import re

import torch
from pydoc_data.topics import topics
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

CHAPTERS = ["strings", "typesseq", "class", "import", "numbers", "try", "attribute-access", "formatstrings"]
PAD = 0


def sentences(chapter):
    for text in re.split(r"[.:]\s|\n\n", topics.get(chapter, "")):
        words = re.findall(r"[a-z_]+", text.lower())
        if 4 <= len(words) <= 40:
            yield words


def load():
    pairs = [(words, label) for label, chapter in enumerate(CHAPTERS) for words in sentences(chapter)]
    counts = {}
    for words, _ in pairs:
        for word in words:
            counts[word] = counts.get(word, 0) + 1
    vocabulary = {word: i + 2 for i, word in enumerate(sorted(w for w, n in counts.items() if n > 1))}
    data = [(torch.tensor([vocabulary.get(w, 1) for w in words]), label) for words, label in pairs]
    order = torch.randperm(len(data)).tolist()
    return [data[i] for i in order], len(vocabulary) + 2


def collate(batch):
    tokens, labels = zip(*batch)
    return pad_sequence(list(tokens), batch_first=True, padding_value=PAD), torch.tensor(labels)


class SentenceClassifier(nn.Module):
    def __init__(self, vocabulary, dim=48):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim, padding_idx=PAD)
        self.position = nn.Embedding(64, dim)
        layer = nn.TransformerEncoderLayer(dim, 4, 96, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(dim, len(CHAPTERS))

    def forward(self, tokens):
        real = tokens != PAD
        x = self.embed(tokens) + self.position(torch.arange(tokens.shape[1], device=tokens.device))
        x = self.encoder(x, src_key_padding_mask=real)  # fault: the mask is True where a position is to be ignored
        weights = real.float() / real.sum(1, keepdim=True)
        return self.head((weights.unsqueeze(1) @ x).squeeze(1))


def main():
    torch.manual_seed(5)
    data, vocabulary = load()
    held_out = len(data) // 5
    train = DataLoader(data[held_out:], batch_size=32, shuffle=True, collate_fn=collate)
    test = DataLoader(data[:held_out], batch_size=64, collate_fn=collate)
    model = SentenceClassifier(vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for epoch in range(4):
        model.train()
        for tokens, labels in train:
            loss = nn.functional.cross_entropy(model(tokens), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            hits = sum((model(tokens).argmax(1) == labels).sum().item() for tokens, labels in test)
        print(f"epoch {epoch}: loss {loss.item():.3f}, accuracy {hits / held_out:.3f}")


if __name__ == "__main__":
    main()
