import os
from pathlib import Path

from hypothesis import settings

# what make builds: S3 servers in environments of their own
HERE = Path(__file__).parents[1]
os.environ.setdefault("ZWRITER_MOTO_SERVER", str(HERE / ".venv-moto/bin/moto_server"))
os.environ.setdefault("ZWRITER_WEED", str(HERE / ".venv-seaweedfs/bin/weed"))

pytest_plugins = ["zwriter.testing.fixtures"]

# No test asserts a time; and what is tested is the same each time, so that red means a change.
# `pytest --hypothesis-profile=explore` looks for what nobody has thought of yet.
settings.register_profile("shared machine", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("shared machine")
