"""Train a toy object detector whose model returns a dict of losses and takes a list of target dicts."""
import torch
from torch.utils.data import DataLoader

from detection_dict_parts import Boxes, TinyDetector, collate


def iou(a, b):
    """pairwise overlap of two sets of boxes given as cx, cy, w, h"""
    lo = torch.maximum(a[:, None, :2] - a[:, None, 2:] / 2, b[None, :, :2] - b[None, :, 2:] / 2)
    hi = torch.minimum(a[:, None, :2] + a[:, None, 2:] / 2, b[None, :, :2] + b[None, :, 2:] / 2)
    inter = (hi - lo).clamp(min=0).prod(-1)
    union = a[:, None, 2:].prod(-1) + b[None, :, 2:].prod(-1) - inter
    return inter / union


def train_one_epoch(model, optimizer, data_loader):
    model.train()
    sums, seen = {}, 0
    for images, targets in data_loader:
        images = list(images)
        targets = [{k: v for k, v in t.items()} for t in targets]
        loss_dict = model(images, targets)
        losses = sum(loss for loss in loss_dict.values())

        optimizer.zero_grad()
        losses.backward()
        optimizer.step()

        seen += len(images)
        for k, v in loss_dict.items():
            sums[k] = sums.get(k, 0.0) + v.item() * len(images)
    return {k: v / seen for k, v in sums.items()}


@torch.inference_mode()
def evaluate(model, data_loader):
    model.eval()
    found = truth = predicted = 0
    for images, targets in data_loader:
        for pred, target in zip(model(list(images)), targets):
            truth += len(target["boxes"])
            predicted += len(pred["boxes"])
            if len(pred["boxes"]):
                overlap = iou(target["boxes"], pred["boxes"])
                same = target["labels"][:, None] == pred["labels"][None, :]
                found += int(((overlap > 0.5) & same).any(1).sum())
    return found / truth, found / max(predicted, 1)


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(Boxes(480, seed=1), batch_size=24, shuffle=True, collate_fn=collate)
    test_loader = DataLoader(Boxes(120, seed=2), batch_size=40, shuffle=False, collate_fn=collate)
    model = TinyDetector()
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(params, lr=3e-3)
    lr_scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=6, gamma=0.3)

    for epoch in range(8):
        losses = train_one_epoch(model, optimizer, train_loader)
        lr_scheduler.step()
        recall, precision = evaluate(model, test_loader)
        print(f"Epoch [{epoch}] " + " ".join(f"{k}: {v:.4f}" for k, v in losses.items())
              + f" | recall@0.5 {recall:.3f} precision {precision:.3f}")
    print("That's it!")


if __name__ == "__main__":
    main()
