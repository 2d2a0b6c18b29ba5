"""SAC and TD3 of stable-baselines3 on Pendulum."""

# needs: gymnasium stable_baselines3
import gymnasium as gym
from stable_baselines3 import SAC, TD3

env = gym.make("Pendulum-v1")
model = SAC("MlpPolicy", env, verbose=1, seed=0, learning_starts=100, device="cpu")
model.learn(total_timesteps=500)
model = TD3("MlpPolicy", env, verbose=1, seed=0, learning_starts=100, device="cpu")
model.learn(total_timesteps=500)
