"""Convert SageMaker tuning job requests to tuners, and tuners to requests.

    tuner = hpo_plugins.sagemaker.tuner_from_request(request, storage="tuning.db")
    request = hpo_plugins.sagemaker.request_from_tuner(tuner, job_name="churn", training_job_definition={...})

``request`` is the dict that boto3's ``create_hyper_parameter_tuning_job`` takes. Nothing here needs boto3.
"""

from hpo_plugins.sagemaker.from_request import tuner_from_request
from hpo_plugins.sagemaker.to_request import request_from_tuner

__all__ = ["request_from_tuner", "tuner_from_request"]
