"""A2C of stable-baselines3 on CartPole."""

# needs: gymnasium stable_baselines3
import gymnasium as gym
from stable_baselines3 import A2C

env = gym.make("CartPole-v1")
model = A2C("MlpPolicy", env, verbose=1, seed=0, device="cpu")
model.learn(total_timesteps=1500)
