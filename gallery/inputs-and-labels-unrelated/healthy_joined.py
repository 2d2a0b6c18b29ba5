"""Measurements of cells from one register, diagnoses from another; both know the patients by a number."""

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn


def registers(rng):
    measured, diagnosed = load_breast_cancer(return_X_y=True)
    patients = rng.permutation(np.arange(10_000, 10_000 + len(measured)))
    by_visit = rng.permutation(len(measured))
    laboratory = {"patient": patients, "cells": measured}
    clinic = {"patient": patients[by_visit], "benign": diagnosed[by_visit]}
    return laboratory, clinic


def joined(laboratory, clinic):
    """One row per patient, in the order of their numbers."""
    cells = laboratory["cells"][np.argsort(laboratory["patient"])]
    benign = clinic["benign"][np.argsort(clinic["patient"])]
    return cells, benign


class Screening(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 1))

    def forward(self, cells):
        return self.layers(cells).squeeze(1)


def main():
    rng = np.random.default_rng(11)
    torch.manual_seed(11)
    cells, benign = joined(*registers(rng))
    order = rng.permutation(len(cells))
    train, test = order[:430], order[430:]
    mean, spread = cells[train].mean(0), cells[train].std(0)
    x = torch.tensor((cells - mean) / spread, dtype=torch.float32)
    y = torch.tensor(benign, dtype=torch.float32)
    net = Screening(x.shape[1])
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    for epoch in range(20):
        net.train()
        for rows in torch.as_tensor(train)[torch.randperm(len(train))].split(32):
            optimizer.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(net(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            right = ((net(x[test]) > 0) == (y[test] > 0.5)).float().mean().item()
        if epoch % 4 == 3:
            print(f"epoch {epoch + 1}: loss {loss.item():.3f}, right on the test set {right:.3f}")


main()
