#!/bin/bash
# Tune XGBoost with an array of jobs that share one search: sbatch examples/slurm_array.sh
#SBATCH --job-name=tuning
#SBATCH --array=0-15%8
#SBATCH --cpus-per-task=1
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --output=tuning-%A_%a.out
# For a GPU, add: #SBATCH --gres=gpu:1

export TUNING_STORAGE=${TUNING_STORAGE:-tuning.db}  # all jobs on one node; otherwise http://... or postgresql://...
export HPO_PLUGINS_PROGRESS=off

srun python "${TUNING_SCRIPT:-examples/xgboost_digits.py}" "$TUNING_STORAGE"
