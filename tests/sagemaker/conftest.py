"""The service's own model and validator, as botocore ships them."""

import pytest


@pytest.fixture(scope="session")
def service():
    """The service's model."""
    loaders = pytest.importorskip("botocore.loaders")
    model = pytest.importorskip("botocore.model")
    return model.ServiceModel(loaders.Loader().load_service_model("sagemaker", "service-2"))


@pytest.fixture(scope="session")
def validate(service):
    """botocore's validator: raises on a request that it would not send."""
    from botocore.validate import ParamValidator

    shape = service.operation_model("CreateHyperParameterTuningJob").input_shape

    def check(request):
        report = ParamValidator().validate(request, shape)
        assert not report.has_errors(), report.generate_report()

    return check
