"""The command line keeps what is freed: nothing has to be cleared again at the next step."""

import os
import subprocess
import sys

import pytest

SECOND_ARRAY = """
import resource
import threading
import rnnjax_command

if {keep}:
    rnnjax_command.keep_freed_memory()


def write():
    bytearray(b"x") * (64 << 20)


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


for _ in range(2):  # in a thread, as XLA does
    thread = threading.Thread(target=write)
    before = faults()
    thread.start()
    thread.join()
print(faults() - before)
"""


def faults_of_a_second_array(keep, **environment):
    """Pages that the system gives for 64 MiB that were used before."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | environment
    code = SECOND_ARRAY.format(keep=keep)
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, check=True, capture_output=True, text=True
    )
    return int(done.stdout)


def test_memory_is_used_again():
    pages = (64 << 20) // 4096
    if faults_of_a_second_array(False) < pages // 2:
        pytest.skip("the system gives large pages, or the C library keeps what is freed by itself")
    assert faults_of_a_second_array(True) < pages // 100


def test_what_the_user_says_of_malloc_holds():
    plain = faults_of_a_second_array(False, MALLOC_ARENA_MAX="2")
    assert faults_of_a_second_array(True, MALLOC_ARENA_MAX="2") > 0.9 * plain
