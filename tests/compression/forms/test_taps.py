from automl.testing import FormContract


class TestTaps(FormContract):
    name = "taps"
