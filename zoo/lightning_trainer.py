"""Digits with a LightningModule and the Lightning Trainer (CPU, nothing written to disk)."""
import logging
import warnings

import lightning.pytorch as pl
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

warnings.filterwarnings("ignore", message=r".*LeafSpec.*")  # lightning's own use of torch's pytree
for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
    logging.getLogger(name).setLevel(logging.ERROR)


class DigitsData(pl.LightningDataModule):
    def __init__(self, batch_size=64):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage=None):
        X, y = load_digits(return_X_y=True)
        X_tr, X_va, y_tr, y_va = train_test_split(X, y, test_size=0.2, random_state=7, stratify=y)
        mean, std = X_tr.mean(), X_tr.std()
        wrap = lambda a, b: TensorDataset(torch.tensor((a - mean) / std, dtype=torch.float32), torch.tensor(b))
        self.train, self.val = wrap(X_tr, y_tr), wrap(X_va, y_va)

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=self.batch_size)


class LitClassifier(pl.LightningModule):
    def __init__(self, hidden=64, lr=2e-3):
        super().__init__()
        self.save_hyperparameters()
        self.model = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hidden, 10))
        self.loss = nn.CrossEntropyLoss()

    def forward(self, x):
        return self.model(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = self.loss(self(x), y)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        self.log("val_loss", self.loss(logits, y))
        self.log("val_acc", (logits.argmax(1) == y).float().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.5)
        return [optimizer], [scheduler]


class PrintMetrics(pl.Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        metrics = {k: f"{v.item():.4f}" for k, v in sorted(trainer.callback_metrics.items())}
        print(f"epoch {trainer.current_epoch}", metrics)


if __name__ == "__main__":
    pl.seed_everything(7, verbose=False)
    trainer = pl.Trainer(
        max_epochs=7, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, callbacks=[PrintMetrics()],
    )
    trainer.fit(LitClassifier(), datamodule=DigitsData())
    print("validation accuracy", f"{trainer.callback_metrics['val_acc'].item():.4f}")
