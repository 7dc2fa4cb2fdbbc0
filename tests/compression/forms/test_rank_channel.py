from automl.testing import FormContract


class TestRankChannel(FormContract):
    name = "rank-channel"
