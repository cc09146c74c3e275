# ruff: noqa: E402, I001 - the path and the environment are set before the SDK is imported
"""Print the requests that ``HyperparameterTuner`` of SageMaker's Python SDK v3 sends, as JSON by name.

It runs in a process of its own: in the tests' own, ``sagemaker`` is the folder of this file.
"""

import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
os.environ |= {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "HOME": tempfile.gettempdir(),
    "SAGEMAKER_VALIDATE_ROLE": "false",  # moto simulates no policies
}
sys.path = [path for path in sys.path if Path(path).name != "sagemaker"]

try:
    from sagemaker.train.tuner import HyperparameterTuner
except ImportError as error:
    sys.exit(f"skip: {error}")

import boto3
import moto
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.parameter import CategoricalParameter, ContinuousParameter, IntegerParameter
from sagemaker.core.shapes import (
    HyperbandStrategyConfig,
    HyperParameterTuningJobStrategyConfig,
    OutputDataConfig,
    StoppingCondition,
)
from sagemaker.core.training.configs import Compute
from sagemaker.train.model_trainer import ModelTrainer

CASES = {
    "bayesian": {"strategy": "Bayesian"},
    "random": {"strategy": "Random", "random_seed": 7, "max_runtime_in_seconds": 7200},
    "early-stopping": {"strategy": "Bayesian", "early_stopping_type": "Auto"},
    "hyperband": {
        "strategy": "Hyperband",
        "strategy_config": HyperParameterTuningJobStrategyConfig(
            hyperband_strategy_config=HyperbandStrategyConfig(min_resource=1, max_resource=81)
        ),
    },
}


def start(name, session):
    """Start a tuning job with these arguments."""
    trainer = ModelTrainer(
        training_image="123456789012.dkr.ecr.us-east-1.amazonaws.com/xgboost:1",
        role="arn:aws:iam::123456789012:role/tuning",
        sagemaker_session=Session(boto_session=session, default_bucket="bucket"),
        base_job_name="churn",
        compute=Compute(instance_type="ml.m5.large", instance_count=1),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=3600),
        output_data_config=OutputDataConfig(s3_output_path="s3://bucket/out"),
        hyperparameters={"num_round": 81},
    )
    tuner = HyperparameterTuner(
        trainer,
        objective_metric_name="validation:logloss",
        objective_type="Minimize",
        metric_definitions=[{"Name": "validation:logloss", "Regex": "logloss:(.*)"}],
        hyperparameter_ranges={
            "eta": ContinuousParameter(0.001, 0.5, scaling_type="Logarithmic"),
            "max_depth": IntegerParameter(2, 12),
            "grow_policy": CategoricalParameter(["depthwise", "lossguide"]),
        },
        max_jobs=12,
        max_parallel_jobs=2,
        **CASES[name],
    )
    tuner.tune(inputs="s3://bucket/train", job_name=name, wait=False)


with moto.mock_aws():
    one, sent = boto3.Session(region_name="us-east-1"), []  # one session: the SDK makes one client
    one.events.register(
        "provide-client-params.sagemaker.CreateHyperParameterTuningJob", lambda params, **_: sent.append(params)
    )
    for case in CASES:
        start(case, one)
print(json.dumps(dict(zip(CASES, sent, strict=True))))
