"""Digits with Lightning: the best checkpoint by validation accuracy is tested, so that epochs must end and validate."""
import logging
import tempfile
import warnings
import torch
import torch.nn.functional as F
from torch import nn
import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Classifier(pl.LightningModule):
    def __init__(self, lr: float = 1e-3, width: int = 16):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                                 nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                                 nn.Linear(8 * width, 10))

    def forward(self, x):
        return self.net(x)

    def step(self, batch, name):
        x, y = batch
        out = self(x)
        loss = F.cross_entropy(out, y)
        self.log(f"{name}_loss", loss, on_step=False, on_epoch=True)
        self.log(f"{name}_acc", (out.argmax(1) == y).float().mean(), on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch, idx):
        return self.step(batch, "train")

    def validation_step(self, batch, idx):
        self.step(batch, "val")

    def test_step(self, batch, idx):
        self.step(batch, "test")

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)


def loaders():
    X, y = load_digits(return_X_y=True)
    X, y = torch.tensor(X / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(y)
    X1, Xte, y1, yte = train_test_split(X, y, test_size=0.2, stratify=y, random_state=0)
    Xtr, Xva, ytr, yva = train_test_split(X1, y1, test_size=0.2, stratify=y1, random_state=0)
    mk = lambda a, b, s: DataLoader(TensorDataset(a, b), batch_size=64, shuffle=s)
    return mk(Xtr, ytr, True), mk(Xva, yva, False), mk(Xte, yte, False)


def main():
    pl.seed_everything(0, verbose=False)
    train, val, test = loaders()
    with tempfile.TemporaryDirectory() as d:
        ckpt = ModelCheckpoint(dirpath=d, monitor="val_acc", save_top_k=1, mode="max")
        trainer = pl.Trainer(max_epochs=8, callbacks=[ckpt], accelerator="cpu", logger=False, enable_progress_bar=False,
                             enable_model_summary=False)
        model = Classifier()
        trainer.fit(model, train, val)
        print({k: round(v.item(), 4) for k, v in trainer.callback_metrics.items()})
        res = trainer.test(Classifier(), test, ckpt_path=ckpt.best_model_path, verbose=False)[0]
    print(f"test accuracy {res['test_acc']:.4f} loss {res['test_loss']:.4f}")


if __name__ == "__main__":
    main()
