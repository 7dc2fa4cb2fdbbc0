from automl.testing import FormContract


class TestRankSpatial(FormContract):
    name = "rank-spatial"


class TestPlainRankSpatial(FormContract):
    name = "rank-spatial-plain"
