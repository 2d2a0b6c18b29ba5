"""TabNet on breast cancer."""

# needs: pytorch_tabnet
from pytorch_tabnet.tab_model import TabNetClassifier
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

X, y = load_breast_cancer(return_X_y=True)
a, b, c, d = train_test_split(X, y, random_state=0)
clf = TabNetClassifier(seed=0, verbose=1)
clf.fit(a, c, eval_set=[(b, d)], max_epochs=4, batch_size=128, virtual_batch_size=64)
