"""Numbers in words become digits: an encoder and a decoder with an optimiser each, as in the tutorial on translation."""
import random

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim

ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
LETTERS = "abcdefghijklmnopqrstuvwxyz -"
SOS = 10
SAMPLES_PER_STEP = 64


def in_words(n):
    if n >= 1000:
        return in_words(n // 1000) + " thousand" + (" " + in_words(n % 1000) if n % 1000 else "")
    if n >= 100:
        return ONES[n // 100] + " hundred" + (" " + in_words(n % 100) if n % 100 else "")
    if n >= 20:
        return TENS[n // 10 - 2] + ("-" + ONES[n % 10] if n % 10 else "")
    return ONES[n]


def letters(text, length):
    return torch.tensor([LETTERS.index(c) + 1 for c in text] + [0] * (length - len(text)))


class EncoderRNN(nn.Module):
    def __init__(self, hidden_size):
        super().__init__()
        self.embedding = nn.Embedding(len(LETTERS) + 1, 32, padding_idx=0)
        self.gru = nn.GRU(32, hidden_size, batch_first=True)

    def forward(self, tokens, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
        return self.gru(packed)[1]


class DecoderRNN(nn.Module):
    def __init__(self, hidden_size):
        super().__init__()
        self.embedding = nn.Embedding(11, 16)
        self.gru = nn.GRU(16, hidden_size, batch_first=True)
        self.out = nn.Linear(hidden_size, 10)

    def forward(self, previous, hidden):
        states, hidden = self.gru(self.embedding(previous), hidden)
        return self.out(states), hidden


def train(batch, encoder, decoder, encoder_optimizer, decoder_optimizer):
    tokens, lengths, digits = batch
    encoder_optimizer.zero_grad()
    decoder_optimizer.zero_grad()
    decoder_hidden = encoder(tokens, lengths)
    decoder_input = torch.cat([torch.full((len(digits), 1), SOS), digits[:, :-1]], 1)
    logits, _ = decoder(decoder_input, decoder_hidden)
    loss = F.cross_entropy(logits.reshape(-1, 10), digits.reshape(-1))
    loss.backward()
    encoder_optimizer.step()
    decoder_optimizer.step()
    return loss.item()


@torch.no_grad()
def evaluate(pairs, encoder, decoder):
    encoder.eval()
    decoder.eval()
    tokens, lengths, digits = pairs
    hidden, previous, said = encoder(tokens, lengths), torch.full((len(digits), 1), SOS), []
    for _ in range(4):
        logits, hidden = decoder(previous, hidden)
        previous = logits.argmax(-1)
        said.append(previous)
    encoder.train()
    decoder.train()
    return (torch.cat(said, 1) == digits).all(1).float().mean().item()


def main():
    random.seed(5)
    torch.manual_seed(5)
    numbers = random.sample(range(10000), 2400)
    texts = [in_words(n) for n in numbers]
    longest = max(map(len, texts))
    tokens = torch.stack([letters(t, longest) for t in texts])
    lengths = torch.tensor([len(t) for t in texts])
    digits = torch.tensor([[int(c) for c in f"{n:04d}"] for n in numbers])
    held_out = tokens[2000:], lengths[2000:], digits[2000:]

    encoder, decoder = EncoderRNN(96), DecoderRNN(96)
    encoder_optimizer = optim.Adam(encoder.parameters(), lr=5e-3)
    decoder_optimizer = optim.Adam(decoder.parameters(), lr=5e-3)
    for epoch in range(1, 7):
        total = 0.0
        order = torch.randperm(2000)
        for rows in order.split(SAMPLES_PER_STEP):
            batch = tokens[rows], lengths[rows], digits[rows]
            total += train(batch, encoder, decoder, encoder_optimizer, decoder_optimizer) * len(rows)
        print(f"{epoch}: loss {total / 2000:.3f}, right in full {evaluate(held_out, encoder, decoder):.1%}")


if __name__ == "__main__":
    main()
