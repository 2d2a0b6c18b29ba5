"""Distil the soft predictions of a logistic regression on digits into a compact network that sees 4x4 pixels."""
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

TEMPERATURE = 2.0
SEED = 21


class Student(nn.Module):
    """Sees the image at a quarter of the resolution."""

    def __init__(self):
        super().__init__()
        self.shrink = nn.AvgPool2d(2)
        self.fc1 = nn.Linear(16, 48)
        self.fc2 = nn.Linear(48, 10)

    def forward(self, x):
        x = self.shrink(x.view(-1, 1, 8, 8)).flatten(1)
        return self.fc2(F.gelu(self.fc1(x)))


def soft_labels(teacher, pixels):
    scores = torch.tensor(teacher.decision_function(pixels), dtype=torch.float32)
    return F.softmax(scores / TEMPERATURE, dim=1)


def distillation_loss(kl, student_logits, teacher_probs):
    return kl(F.softmax(student_logits / TEMPERATURE, dim=1), teacher_probs)  # fault: expects log-probabilities


def main():
    torch.manual_seed(SEED)
    np.random.seed(SEED)
    pixels, labels = load_digits(return_X_y=True)
    pixels = (pixels - 4.9) / 6.0
    x_train, x_val, y_train, y_val = train_test_split(
        pixels, labels, test_size=0.2, stratify=labels, random_state=SEED
    )
    teacher = LogisticRegression(C=0.05, max_iter=500).fit(x_train, y_train)
    print(f"teacher accuracy {teacher.score(x_val, y_val):.4f}")

    train_set = TensorDataset(torch.tensor(x_train, dtype=torch.float32), soft_labels(teacher, x_train))
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    t_val = soft_labels(teacher, x_val)
    x_val, y_val = torch.tensor(x_val, dtype=torch.float32), torch.tensor(y_val)

    student = Student()
    kl = nn.KLDivLoss(reduction="batchmean")
    optimizer = torch.optim.AdamW(student.parameters(), lr=2e-3, weight_decay=1e-4)
    for epoch in range(1, 16):
        student.train()
        total = 0.0
        for x, target in train_loader:
            optimizer.zero_grad()
            loss = distillation_loss(kl, student(x), target)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        student.eval()
        with torch.no_grad():
            logits = student(x_val)
            val_loss = distillation_loss(kl, logits, t_val).item()
            gap = (F.softmax(logits / TEMPERATURE, dim=1) - t_val).abs().sum(dim=1).mean().item()
            accuracy = (logits.argmax(dim=1) == y_val).float().mean().item()
        print(f"epoch {epoch:2d}: train {total / len(train_set):.4f}, val {val_loss:.4f}, "
              f"distance to teacher {gap:.4f}, accuracy {accuracy:.4f}")
    print(f"student: distance to teacher {gap:.4f}, accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
