"""What a training command does with its own process."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, numpy, os
from vgglass.training import process
{prepare}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    numpy.ones(8_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults(), os.environ.get("GOMP_SPINCOUNT"))
"""


def printed(prepare: str, **environment: str) -> tuple[int, str]:
    result = subprocess.run(
        [sys.executable, "-c", FAULTS.format(prepare=prepare)], capture_output=True, text=True, check=True,
        env=environment,
    )  # fmt: skip
    faults, spins = result.stdout.split()
    return int(faults), spins


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_used_again() -> None:
    """64 MB are 15,625 pages of 4 kB, or 31 huge ones: given back and faulted in anew, unless they are kept."""
    assert printed("pass")[0] > 25
    assert printed("process.prepare()")[0] < 5


@pytest.mark.skipif(sys.platform != "linux", reason="libgomp")
def test_a_persons_own_setting_wins() -> None:
    assert printed("pass")[1] == "None"
    assert printed("process.prepare()")[1] == "10000"
    assert printed("process.prepare()", GOMP_SPINCOUNT="7")[1] == "7"
