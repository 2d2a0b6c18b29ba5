"""A tiny, randomly initialised BERT that spots a marker letter in a sequence, with transformers.Trainer."""
import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import random
import tempfile

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, PrinterCallback, Trainer, TrainingArguments, set_seed
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()
CLS, SEP, N_LETTERS, LENGTH = 0, 1, 12, 6


class Markers(Dataset):
    """label 1: one of the letters 0 and 1 is somewhere in the sequence"""

    def __init__(self, n, seed):
        rng = random.Random(seed)
        self.rows = []
        for i in range(n):
            label = i % 2
            letters = [rng.randrange(2, N_LETTERS) for _ in range(LENGTH)]
            if label:
                letters[rng.randrange(LENGTH)] = rng.randrange(2)
            ids = [CLS] + [2 + c for c in letters] + [SEP]
            self.rows.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": label})

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return {k: torch.tensor(v) for k, v in self.rows[i].items()}


def compute_metrics(eval_pred):
    logits, labels = eval_pred
    return {"accuracy": float((np.argmax(logits, axis=-1) == labels).mean())}


def main():
    set_seed(42)
    config = BertConfig(
        vocab_size=N_LETTERS + 2, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=16, num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pad_token_id=None,
    )
    model = BertForSequenceClassification(config)
    with tempfile.TemporaryDirectory() as out:
        args = TrainingArguments(
            output_dir=out, num_train_epochs=5, per_device_train_batch_size=32, per_device_eval_batch_size=128,
            learning_rate=1e-3, warmup_steps=20, weight_decay=0.01, eval_strategy="epoch", logging_strategy="epoch",
            save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True, seed=42, dataloader_pin_memory=False,
        )
        trainer = Trainer(
            model=model, args=args, train_dataset=Markers(1000, seed=1), eval_dataset=Markers(300, seed=2),
            compute_metrics=compute_metrics,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        for row in trainer.state.log_history[:-1]:
            print({k: round(row[k], 4) for k in ("epoch", "loss", "learning_rate", "eval_loss", "eval_accuracy") if k in row})
        metrics = trainer.evaluate()
    print("final", {k: round(metrics[k], 4) for k in ("eval_loss", "eval_accuracy")})


if __name__ == "__main__":
    main()
