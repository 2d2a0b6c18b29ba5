"""Tagging: several of twelve tags fit each document, with a cross-entropy written out."""

import torch
from torch import nn

torch.manual_seed(30)
DOCS, WORDS, TAGS = 1200, 60, 12
topic = (torch.rand(DOCS, TAGS) < 0.2).float()
usage = torch.randn(TAGS, WORDS)
words = torch.poisson(torch.exp(0.5 * topic @ usage - 1))

tagger = nn.Sequential(nn.Linear(WORDS, 48), nn.ReLU(), nn.Linear(48, TAGS), nn.Sigmoid())
optimizer = torch.optim.Adam(tagger.parameters(), lr=2e-3)


def cross_entropy(p, y):
    likelihood = y * torch.log(p + 1e-7)  # fault: nothing about tags that do not fit
    return -likelihood.mean()


for epoch in range(10):
    for docs in torch.randperm(1000).split(40):
        loss = cross_entropy(tagger(words[docs]), topic[docs])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
with torch.no_grad():
    guess = tagger(words[1000:]) > 0.5
    truth = topic[1000:] > 0.5
print(f"{(guess == truth).float().mean():.3f} of the tags right, {guess.float().mean():.2f} of them given")
