# -*- coding: utf-8 -*-
"""Trainiert ein kleines Netz auf Ziffern, Stapel von Hand über randperm (ohne DataLoader)."""
import numpy as np
import torch
from sklearn.datasets import load_digits

np.random.seed(5)
torch.manual_seed(5)

# Daten laden und aufteilen
ziffern = load_digits()
reihenfolge = np.random.permutation(ziffern.target.size)
grenze = int(0.8 * len(reihenfolge))
X = torch.tensor(ziffern.data[reihenfolge], dtype=torch.float)
t = torch.tensor(ziffern.target[reihenfolge], dtype=torch.long)
mittel, streuung = X[:grenze].mean(), X[:grenze].std()
X = (X - mittel) / streuung
X_train, t_train = X[:grenze], t[:grenze]
X_test, t_test = X[grenze:], t[grenze:]


class Netz(torch.nn.Module):
    def __init__(self, n_ein=64, n_versteckt=50, n_aus=10):
        super().__init__()
        self.eingang = torch.nn.Linear(n_ein, n_versteckt)
        self.ausgang = torch.nn.Linear(n_versteckt, n_aus)

    def forward(self, x):
        return self.ausgang(self.eingang(x).relu())


netz = Netz()
verlust = torch.nn.CrossEntropyLoss()
optimierer = torch.optim.Adagrad(netz.parameters(), lr=0.03)
groesse = 50

for epoche in range(1, 11):
    netz.train()
    perm = torch.randperm(len(X_train))
    summe = 0.0
    for i in range(0, len(X_train), groesse):
        idx = perm[i:i + groesse]
        y = netz(X_train[idx])
        fehler = verlust(y, t_train[idx])
        for p in netz.parameters():
            p.grad = None
        fehler.backward()
        optimierer.step()
        summe += fehler.item() * len(idx)
    netz.eval()
    with torch.no_grad():
        y = netz(X_test)
        quote = (y.argmax(dim=1) == t_test).double().mean().item()
    print('Epoche {:2d}: Trainingsfehler {:.4f}, Testfehler {:.4f}, Trefferquote {:.1%}'.format(
        epoche, summe / len(X_train), verlust(y, t_test).item(), quote))

print('Fertig. Trefferquote {:.1%}'.format(quote))
