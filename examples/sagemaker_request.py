"""Run the request of a SageMaker tuning job in your own loop, and convert the tuner to a request again.

The study is stored under the job's name. If you run the script again, it continues the study.
"""

import json
import logging

from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

import hpo_plugins

REQUEST = {
    "HyperParameterTuningJobName": "digits-linear",
    "HyperParameterTuningJobConfig": {
        "Strategy": "Hyperband",  # the tuner reads MaxResource from the static hyperparameter "epochs"
        "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "validation:accuracy"},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 20, "MaxParallelTrainingJobs": 2},
        "ParameterRanges": {
            "ContinuousParameterRanges": [
                {"Name": "alpha", "MinValue": "1e-7", "MaxValue": "1", "ScalingType": "Logarithmic"},
            ],
            "CategoricalParameterRanges": [{"Name": "loss", "Values": ["hinge", "log_loss", "modified_huber"]}],
        },
        "RandomSeed": 0,
    },
    "TrainingJobDefinition": {
        "AlgorithmSpecification": {
            "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/digits:1",
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "validation:accuracy", "Regex": "accuracy=(.*?);"}],
        },
        "RoleArn": "arn:aws:iam::123456789012:role/Tuner",
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/digits"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        "StaticHyperParameters": {"epochs": "27"},
    },
}


def main() -> None:
    """Run the search, and print its summary and the request for the service."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    images, labels = load_digits(return_X_y=True)
    x, x_valid, y, y_valid = train_test_split(images / 16, labels, random_state=0)

    tuner = hpo_plugins.sagemaker.tuner_from_request(REQUEST, storage="tuning.db")
    for trial in tuner:
        model = SGDClassifier(loss=trial["loss"], alpha=trial["alpha"], random_state=0)
        for epoch in range(1, int(trial["epochs"]) + 1):
            model.partial_fit(x, y, classes=range(10))
            if trial.report(epoch, {"validation:accuracy": model.score(x_valid, y_valid)}):
                break
    print(tuner.summary())

    request = hpo_plugins.sagemaker.request_from_tuner(tuner, job_name="digits-linear-2")
    print(json.dumps(request["HyperParameterTuningJobConfig"], indent=2))
    # boto3.client("sagemaker").create_hyper_parameter_tuning_job(**request)


if __name__ == "__main__":
    main()
