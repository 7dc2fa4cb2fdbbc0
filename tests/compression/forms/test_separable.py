from automl.testing import FormContract


class TestSeparable(FormContract):
    name = "separable"
