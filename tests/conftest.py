pytest_plugins = ["zwriter.testing.fixtures"]
