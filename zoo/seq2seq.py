"""GRU encoder-decoder that learns to reverse short strings, trained with teacher forcing."""
import random
import string

import torch
import torch.nn as nn

PAD, SOS, EOS = 0, 1, 2
LETTERS = string.ascii_lowercase[:8]
STOI = {c: i + 3 for i, c in enumerate(LETTERS)}
VOCAB = len(LETTERS) + 3


def make_pairs(n, seed):
    rng = random.Random(seed)
    words = set()
    while len(words) < n:
        words.add("".join(rng.choice(LETTERS) for _ in range(rng.randint(2, 4))))
    words = sorted(words)
    rng.shuffle(words)
    return [(w, w[::-1]) for w in words]


def collate(pairs):
    src = [torch.tensor([STOI[c] for c in s] + [EOS]) for s, _ in pairs]
    tgt = [torch.tensor([SOS] + [STOI[c] for c in t] + [EOS]) for _, t in pairs]
    lengths = torch.tensor([len(s) for s in src])
    src = nn.utils.rnn.pad_sequence(src, batch_first=True, padding_value=PAD)
    tgt = nn.utils.rnn.pad_sequence(tgt, batch_first=True, padding_value=PAD)
    return src, lengths, tgt


class EncoderRNN(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, 24, padding_idx=PAD)
        self.gru = nn.GRU(24, hidden, batch_first=True)

    def forward(self, src, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(self.embedding(src), lengths, batch_first=True, enforce_sorted=False)
        _, h = self.gru(packed)
        return h


class DecoderRNN(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, 24, padding_idx=PAD)
        self.gru = nn.GRU(24, hidden, batch_first=True)
        self.out = nn.Linear(hidden, VOCAB)

    def forward(self, tokens, h):
        y, h = self.gru(self.embedding(tokens), h)
        return self.out(y), h


def exact_match(encoder, decoder, pairs):
    encoder.eval(), decoder.eval()
    src, lengths, tgt = collate(pairs)
    with torch.no_grad():
        h = encoder(src, lengths)
        token = torch.full((len(pairs), 1), SOS)
        produced = []
        for _ in range(tgt.shape[1] - 1):
            logits, h = decoder(token, h)
            token = logits.argmax(-1)
            produced.append(token)
        produced = torch.cat(produced, 1)
    mask = tgt[:, 1:] != PAD
    same = (produced == tgt[:, 1:]) | ~mask
    encoder.train(), decoder.train()
    return same.all(1).float().mean().item()


if __name__ == "__main__":
    torch.manual_seed(5)
    pairs = make_pairs(1400, seed=5)
    train_pairs, test_pairs = pairs[:1200], pairs[1200:]
    loader = torch.utils.data.DataLoader(train_pairs, batch_size=48, shuffle=True, collate_fn=collate)
    encoder, decoder = EncoderRNN(56), DecoderRNN(56)
    criterion = nn.CrossEntropyLoss(ignore_index=PAD)
    enc_opt = torch.optim.Adam(encoder.parameters(), lr=6e-3)
    dec_opt = torch.optim.Adam(decoder.parameters(), lr=6e-3)
    for epoch in range(8):
        total, tokens = 0.0, 0
        for src, lengths, tgt in loader:
            enc_opt.zero_grad()
            dec_opt.zero_grad()
            logits, _ = decoder(tgt[:, :-1], encoder(src, lengths))  # teacher forcing
            loss = criterion(logits.reshape(-1, VOCAB), tgt[:, 1:].reshape(-1))
            loss.backward()
            enc_opt.step()
            dec_opt.step()
            n = int((tgt[:, 1:] != PAD).sum())
            total += loss.item() * n
            tokens += n
        print(f"epoch {epoch + 1} loss/token {total / tokens:.4f} exact match {exact_match(encoder, decoder, test_pairs):.3f}")
    print("final exact match on unseen strings:", round(exact_match(encoder, decoder, test_pairs), 3))
