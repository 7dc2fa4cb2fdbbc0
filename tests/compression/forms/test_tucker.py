from automl.testing import FormContract


class TestTucker(FormContract):
    name = "tucker"
