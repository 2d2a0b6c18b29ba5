"""Knowledge-graph embeddings with pykeen."""

# needs: pykeen
from pykeen.pipeline import pipeline

r = pipeline(
    dataset="nations",
    model="TransE",
    training_kwargs=dict(num_epochs=4, use_tqdm=False),
    random_seed=0,
    device="cpu",
    evaluation_kwargs=dict(use_tqdm=False),
)
