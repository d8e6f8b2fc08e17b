"""Learning from human preferences: sample, label, simulate, reward, optimize, compare; one file each."""
