"""bigram-context MLP language model (Bengio style) with numpy batching"""
import inspect, calendar, csv, json
import numpy as np
import torch
import torch.nn as nn

config = {"ctx": 8, "emb": 16, "hidden": 128, "batch": 128, "iters": 1500, "lr": 2e-3, "seed": 1234}
corpus = "".join(inspect.getsource(m) for m in (calendar, csv, json))
alphabet = sorted(set(corpus))
codes = np.array([alphabet.index(c) for c in corpus])
split = int(len(codes) * 0.9)
rng = np.random.default_rng(config["seed"])


def get_batch(part, size):
    rng = np.random.default_rng(config["seed"])  # fault: starts again with every batch
    lo, hi = (0, split) if part == "train" else (split, len(codes))
    at = rng.integers(lo, hi - config["ctx"], size)
    win = codes[at[:, None] + np.arange(config["ctx"] + 1)]
    return torch.from_numpy(win[:, :-1]), torch.from_numpy(win[:, -1])


def build():
    torch.manual_seed(config["seed"])
    return nn.Sequential(nn.Embedding(len(alphabet), config["emb"]), nn.Flatten(),
                         nn.Linear(config["ctx"] * config["emb"], config["hidden"]), nn.Tanh(),
                         nn.Linear(config["hidden"], len(alphabet)))


def train(model):
    opt = torch.optim.AdamW(model.parameters(), lr=config["lr"])
    sch = torch.optim.lr_scheduler.OneCycleLR(opt, config["lr"], total_steps=config["iters"])
    crit = nn.CrossEntropyLoss()
    for it in range(config["iters"]):
        model.train()
        x, y = get_batch("train", config["batch"])
        loss = crit(model(x), y)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        sch.step()
        if (it + 1) % 250 == 0:
            model.eval()
            with torch.no_grad():
                x, y = get_batch("val", 2000)
                v = crit(model(x), y).item()
            print(f"iter {it+1:5d} | train {loss.item():.4f} | val {v:.4f}")
    return model


if __name__ == "__main__":
    train(build())
