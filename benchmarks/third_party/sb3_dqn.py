"""DQN of stable-baselines3 on CartPole."""

# needs: gymnasium stable_baselines3
import gymnasium as gym
from stable_baselines3 import DQN

env = gym.make("CartPole-v1")
model = DQN("MlpPolicy", env, verbose=1, seed=0, learning_starts=200, device="cpu")
model.learn(total_timesteps=2000)
