import subprocess
import sys


def test_records_and_data_do_not_load_jax():
    # Reading images, refusing them and the worker processes should not wait for JAX.
    code = "import sys, medjax.records, medjax.config, medjax.data; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
