"""PPO of stable-baselines3 on CartPole."""

# needs: gymnasium stable_baselines3
import gymnasium as gym
from stable_baselines3 import PPO

env = gym.make("CartPole-v1")
model = PPO("MlpPolicy", env, verbose=1, seed=0, n_steps=512, device="cpu")
model.learn(total_timesteps=2000)
