"""Digits in a hand-written loop with Hugging Face accelerate, gradient accumulation included."""
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.optim.lr_scheduler import LinearLR
from torch.utils.data import DataLoader, TensorDataset


def get_dataloaders(batch_size):
    X, y = load_digits(return_X_y=True)
    X_tr, X_va, y_tr, y_va = train_test_split(X, y, test_size=0.2, random_state=0, stratify=y)
    mu, sigma = X_tr.mean(), X_tr.std()
    tr = TensorDataset(torch.tensor((X_tr - mu) / sigma, dtype=torch.float32), torch.tensor(y_tr))
    va = TensorDataset(torch.tensor((X_va - mu) / sigma, dtype=torch.float32), torch.tensor(y_va))
    return DataLoader(tr, batch_size=batch_size, shuffle=True, drop_last=True), DataLoader(va, batch_size=120)


def training_function(config):
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=config["accumulate"])
    set_seed(config["seed"])
    train_dataloader, eval_dataloader = get_dataloaders(config["batch_size"])
    model = nn.Sequential(nn.Linear(64, 80), nn.GELU(), nn.Dropout(0.1), nn.Linear(80, 10))
    optimizer = torch.optim.AdamW(params=model.parameters(), lr=config["lr"])
    updates = config["num_epochs"] * len(train_dataloader) // config["accumulate"]
    lr_scheduler = LinearLR(optimizer, start_factor=1.0, end_factor=0.1, total_iters=updates)
    model, optimizer, train_dataloader, eval_dataloader, lr_scheduler = accelerator.prepare(
        model, optimizer, train_dataloader, eval_dataloader, lr_scheduler
    )

    for epoch in range(config["num_epochs"]):
        model.train()
        total_loss = 0.0
        for inputs, targets in train_dataloader:
            with accelerator.accumulate(model):
                loss = F.cross_entropy(model(inputs), targets)
                accelerator.backward(loss)
                optimizer.step()
                lr_scheduler.step()
                optimizer.zero_grad()
            total_loss += loss.item()

        model.eval()
        accurate = num_elems = 0
        for inputs, targets in eval_dataloader:
            with torch.no_grad():
                predictions = model(inputs).argmax(dim=-1)
            predictions, targets = accelerator.gather_for_metrics((predictions, targets))
            accurate += (predictions == targets).sum().item()
            num_elems += targets.shape[0]
        accelerator.print(f"epoch {epoch}: loss {total_loss / len(train_dataloader):.4f} accuracy {100 * accurate / num_elems:.2f}")
    accelerator.end_training()
    accelerator.print("learning rate at the end", f"{lr_scheduler.get_last_lr()[0]:.5f}")


if __name__ == "__main__":
    training_function({"lr": 4e-3, "num_epochs": 8, "seed": 42, "batch_size": 31, "accumulate": 2})
