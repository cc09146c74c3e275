"""The shape of a request to ``CreateHyperParameterTuningJob``, as the service's API model has it.

Facts of that model: names, required members, enumerations, bounds and patterns. ``tests/sagemaker/test_shape.py``
compares all of it with the model that botocore ships. One thing differs on purpose: instance types are checked by
their form, since the service's list grows every month and none of them has a meaning here.
"""

from __future__ import annotations

from hpo_plugins.sagemaker.shapes import Choice, Flag, Listing, Real, Structure, Table, Text, Whole

_ACCOUNT = r"[0-9]{12}"
_ANY = r"[\S\s]*"

# What the search is.

JOB_NAME = Text(1, 32, r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,31}")
_METRIC_NAME = Text(1, 255, r".+")
_PARAMETER_NAME = Text(0, 256)
_PARAMETER_VALUE = Text(0, 256)
_OBJECTIVE = Structure({"Type": Choice(("Maximize", "Minimize")), "MetricName": _METRIC_NAME})
_SCALING = Choice(("Auto", "Linear", "Logarithmic", "ReverseLogarithmic"))
_RANGE = Structure(
    {"Name": _PARAMETER_NAME, "MinValue": _PARAMETER_VALUE, "MaxValue": _PARAMETER_VALUE}, {"ScalingType": _SCALING}
)
_CATEGORIES = Structure({"Name": _PARAMETER_NAME, "Values": Listing(_PARAMETER_VALUE, 1, 30)})
_RANGES = Structure(
    optional={
        "IntegerParameterRanges": Listing(_RANGE, 0, 30),
        "ContinuousParameterRanges": Listing(_RANGE, 0, 30),
        "CategoricalParameterRanges": Listing(_CATEGORIES, 0, 30),
        "AutoParameters": Listing(Structure({"Name": _PARAMETER_NAME, "ValueHint": _PARAMETER_VALUE}), 0, 100),
    }
)
_LIMITS = Structure(
    {"MaxParallelTrainingJobs": Whole(1)},
    {"MaxNumberOfTrainingJobs": Whole(1), "MaxRuntimeInSeconds": Whole(120, 15_768_000)},
)
_CRITERIA = Structure(
    optional={
        "TargetObjectiveMetricValue": Real(),
        "BestObjectiveNotImproving": Structure(optional={"MaxNumberOfTrainingJobsNotImproving": Whole(3)}),
        "ConvergenceDetected": Structure(optional={"CompleteOnConvergence": Choice(("Disabled", "Enabled"))}),
    }
)
CONFIG = Structure(
    {"Strategy": Choice(("Bayesian", "Random", "Hyperband", "Grid")), "ResourceLimits": _LIMITS},
    {
        "StrategyConfig": Structure(
            optional={"HyperbandStrategyConfig": Structure(optional={"MinResource": Whole(1), "MaxResource": Whole(1)})}
        ),
        "HyperParameterTuningJobObjective": _OBJECTIVE,
        "ParameterRanges": _RANGES,
        "TrainingJobEarlyStoppingType": Choice(("Off", "Auto")),
        "TuningJobCompletionCriteria": _CRITERIA,
        "RandomSeed": Whole(0),
    },
)
_WARM_START = Structure(
    {
        "ParentHyperParameterTuningJobs": Listing(Structure(optional={"HyperParameterTuningJobName": JOB_NAME}), 1, 5),
        "WarmStartType": Choice(("IdenticalDataAndAlgorithm", "TransferLearning")),
    }
)

# What a training job is: mostly of no meaning outside the service.

_S3_URI = Text(0, 1024, r"(https|s3)://([^/]+)/?(.*)")
_KMS_KEY = Text(0, 2048, r"[a-zA-Z0-9:/_-]*")
_FOLDER = Text(0, 4096)
_INPUT_MODE = Choice(("Pipe", "File", "FastFile"))
_INSTANCE_TYPE = Text(1, 64, r"ml\.[a-z0-9-]+\.[a-z0-9-]+")
_INSTANCE_GROUP_NAME = Text(1, 64, r".+")
_TRAINING_PLAN = Text(50, 2048, rf"arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:{_ACCOUNT}:training-plan/.*")
_ALGORITHM = Structure(
    {"TrainingInputMode": _INPUT_MODE},
    {
        "TrainingImage": Text(0, 255),
        "AlgorithmName": Text(
            1,
            170,
            rf"(arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:{_ACCOUNT}:[a-z\-]*\/)?"
            r"([a-zA-Z0-9]([a-zA-Z0-9-]){0,62})(?<!-)",
        ),
        "MetricDefinitions": Listing(Structure({"Name": _METRIC_NAME, "Regex": Text(1, 500, r".+")}), 0, 40),
    },
)
_S3_SOURCE = Structure(
    {"S3DataType": Choice(("ManifestFile", "S3Prefix", "AugmentedManifestFile", "Converse")), "S3Uri": _S3_URI},
    {
        "S3DataDistributionType": Choice(("FullyReplicated", "ShardedByS3Key")),
        "AttributeNames": Listing(Text(1, 256, r".+"), 0, 16),
        "InstanceGroupNames": Listing(_INSTANCE_GROUP_NAME, 0, 5),
        "ModelAccessConfig": Structure({"AcceptEula": Flag()}),
        "HubAccessConfig": Structure({"HubContentArn": Text(0, 255)}),
    },
)
_FILE_SYSTEM = Structure(
    {
        "FileSystemId": Text(11, 21, r"(fs-[0-9a-f]{8,})"),
        "FileSystemAccessMode": Choice(("rw", "ro")),
        "FileSystemType": Choice(("EFS", "FSxLustre")),
        "DirectoryPath": _FOLDER,
    }
)
_HUB_DATA = Structure(
    {
        "DatasetArn": Text(
            0,
            2048,
            r"(arn:[a-z0-9-\.]{1,63}:sagemaker:\w+(?:-\w+)+:(\d{12}|aws):hub-content\/)[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
            r"\/DataSet\/[a-zA-Z0-9](-*[a-zA-Z0-9]){0,63}(\/\d{1,4}.\d{1,4}.\d{1,4})?",
        )
    }
)
_CHANNEL = Structure(
    {
        "ChannelName": Text(1, 64, r"[A-Za-z0-9\.\-_]+"),
        "DataSource": Structure(
            optional={"S3DataSource": _S3_SOURCE, "FileSystemDataSource": _FILE_SYSTEM, "DatasetSource": _HUB_DATA}
        ),
    },
    {
        "ContentType": Text(0, 256),
        "CompressionType": Choice(("None", "Gzip")),
        "RecordWrapperType": Choice(("None", "RecordIO")),
        "InputMode": _INPUT_MODE,
        "ShuffleConfig": Structure({"Seed": Whole()}),
    },
)
_VPC = Structure(
    {
        "SecurityGroupIds": Listing(Text(0, 32, r"[-0-9a-zA-Z]+"), 1, 5),
        "Subnets": Listing(Text(0, 32, r"[-0-9a-zA-Z]+"), 1, 16),
    }
)
_OUTPUT = Structure({"S3OutputPath": _S3_URI}, {"KmsKeyId": _KMS_KEY, "CompressionType": Choice(("GZIP", "NONE"))})
_INSTANCES = {"InstanceType": _INSTANCE_TYPE, "InstanceCount": Whole(0)}
_PLACEMENT = Structure({"InstanceCount": Whole(0)}, {"UltraServerId": Text(0, 256, _ANY)})
_RESOURCES = Structure(
    optional={
        **_INSTANCES,
        "VolumeSizeInGB": Whole(0),
        "VolumeKmsKeyId": _KMS_KEY,
        "KeepAlivePeriodInSeconds": Whole(0, 21_600),
        "InstanceGroups": Listing(Structure({**_INSTANCES, "InstanceGroupName": _INSTANCE_GROUP_NAME}), 0, 5),
        "TrainingPlanArn": _TRAINING_PLAN,
        "InstancePlacementConfig": Structure(
            optional={"EnableMultipleJobs": Flag(), "PlacementSpecifications": Listing(_PLACEMENT, 0, 10)}
        ),
        "InstancePreferences": Listing(
            Structure(
                {"InstanceType": _INSTANCE_TYPE},
                {"InstanceCount": Whole(0), "TrainingPlanArns": Listing(_TRAINING_PLAN, 1, 1)},
            ),
            1,
            5,
        ),
        "SelectedInstanceType": _INSTANCE_TYPE,
        "SelectedInstanceCount": Whole(0),
    }
)
_TUNING_RESOURCES = Structure(
    optional={
        **_INSTANCES,
        "VolumeSizeInGB": Whole(0),
        "VolumeKmsKeyId": _KMS_KEY,
        "AllocationStrategy": Choice(("Prioritized",)),
        "InstanceConfigs": Listing(Structure({**_INSTANCES, "VolumeSizeInGB": Whole(1)}), 1, 6),
    }
)
DEFINITION = Structure(
    {
        "AlgorithmSpecification": _ALGORITHM,
        "RoleArn": Text(20, 2048, r"arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+"),
        "OutputDataConfig": _OUTPUT,
        "StoppingCondition": Structure(
            optional={
                "MaxRuntimeInSeconds": Whole(1),
                "MaxWaitTimeInSeconds": Whole(1),
                "MaxPendingTimeInSeconds": Whole(1_800, 2_419_200),
            }
        ),
    },
    {
        "DefinitionName": Text(1, 64, r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,63}"),
        "TuningObjective": _OBJECTIVE,
        "HyperParameterRanges": _RANGES,
        "StaticHyperParameters": Table(Text(0, 256), Text(0, 2500), 100),
        "InputDataConfig": Listing(_CHANNEL, 1, 20),
        "VpcConfig": _VPC,
        "ResourceConfig": _RESOURCES,
        "HyperParameterTuningResourceConfig": _TUNING_RESOURCES,
        "EnableNetworkIsolation": Flag(),
        "EnableInterContainerTrafficEncryption": Flag(),
        "EnableManagedSpotTraining": Flag(),
        "CheckpointConfig": Structure({"S3Uri": _S3_URI}, {"LocalPath": _FOLDER}),
        "RetryStrategy": Structure({"MaximumRetryAttempts": Whole(1, 30)}),
        "Environment": Table(Text(0, 512, r"[a-zA-Z_][a-zA-Z0-9_]*"), Text(0, 512, _ANY), 48),
    },
)

# Letters, separators and numbers of every script: (?u:...) lets \w go beyond ASCII.
_TAG_TEXT = r"(?u:[\w\s.:/=+\-@]*)"

REQUEST = Structure(
    {"HyperParameterTuningJobName": JOB_NAME, "HyperParameterTuningJobConfig": CONFIG},
    {
        "TrainingJobDefinition": DEFINITION,
        "TrainingJobDefinitions": Listing(DEFINITION, 1, 10),
        "WarmStartConfig": _WARM_START,
        "Tags": Listing(Structure({"Key": Text(1, 128, _TAG_TEXT), "Value": Text(0, 256, _TAG_TEXT)}), 0, 50),
        "Autotune": Structure({"Mode": Choice(("Enabled",))}),
    },
)
