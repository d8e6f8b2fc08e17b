"""Learning from human preferences: rewards, rollouts, advantages, losses and guards as pure functions."""
