"""Run trials: in the user's loop, in local processes, or as ranks of one distributed training run."""
