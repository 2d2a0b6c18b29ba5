"""Forecasting with NHITS and an LSTM of neuralforecast, on Lightning."""

# needs: neuralforecast
import pandas as pd, numpy as np
from neuralforecast import NeuralForecast
from neuralforecast.models import NHITS, LSTM

df = pd.DataFrame(
    {
        "unique_id": 1.0,
        "ds": pd.date_range("2000-01-01", periods=200, freq="D"),
        "y": np.sin(np.arange(200) / 5) + np.random.RandomState(0).randn(200) * 0.1,
    }
)
nf = NeuralForecast(
    models=[
        NHITS(h=12, input_size=24, max_steps=60, enable_progress_bar=False),
        LSTM(h=12, input_size=24, max_steps=40, enable_progress_bar=False),
    ],
    freq="D",
)
nf.fit(df=df, val_size=24)
print(nf.predict().head(2))
