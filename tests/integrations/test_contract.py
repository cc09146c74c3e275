"""Our callbacks keep the laws of every callback: hpo_plugins/testing/frameworks.py."""

import sys
from pathlib import Path

import pytest

from hpo_plugins.testing import FrameworkContract

sys.path.insert(0, str(Path(__file__).parent))
from frameworks import FRAMEWORKS

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*", "ignore:.*num_workers.*", "ignore:.*smaller than the logging interval.*",
    "ignore:.*pin_memory.*", "ignore:.*LeafSpec.*", "ignore:__array__ implementation",
)  # fmt: skip


class TestFrameworks(FrameworkContract):
    @pytest.fixture(params=FRAMEWORKS)
    def framework(self, request):
        return FRAMEWORKS[request.param]()
