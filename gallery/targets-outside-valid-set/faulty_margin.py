# Tell malignant from benign tumours with a large-margin classifier.
import torch
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

torch.manual_seed(11)

cancer = load_breast_cancer()
x_train, x_test, y_train, y_test = train_test_split(cancer.data, cancer.target, test_size=0.3, random_state=5)
scaler = StandardScaler().fit(x_train)
x_train = torch.tensor(scaler.transform(x_train), dtype=torch.float32)
x_test = torch.tensor(scaler.transform(x_test), dtype=torch.float32)
y_train = torch.tensor(y_train, dtype=torch.float32)
y_test = torch.tensor(y_test)

model = torch.nn.Sequential(torch.nn.Linear(30, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
signs = y_train  # fault: 0 and 1, where this loss wants -1 and +1

for epoch in range(15):
    order = torch.randperm(len(x_train))
    for start in range(0, len(order), 32):
        rows = order[start : start + 32]
        margin = model(x_train[rows]).squeeze(1)
        loss = F.soft_margin_loss(margin, signs[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        guesses = (model(x_test).squeeze(1) > 0).long()
    right = (guesses == y_test).float().mean().item()
    print(f"{epoch:2d} loss {loss.item():.4f}, test accuracy {right:.3f}")
