"""How rounding is trained, by name: ours and those that other packages add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from automl.methods import Method, Registry

if TYPE_CHECKING:
    from automl.recovery.base import TrainedQuantizer

TRAINED_QUANTIZERS: Final[Registry[TrainedQuantizer]] = Registry(
    "trained-quantizers",
    (
        Method(
            "lsq",
            "The steps of weights and activations are trained with the weights, from those that\n"
            "calibration chose; gradients go straight through the rounding.",
            "Esser et al., Learned Step Size Quantization, 2020",
            "automl.recovery.quantizers.lsq:LearnedSteps",
            frozenset({"training-data"}),
        ),
        Method(
            "pact",
            "The level at which activations are clipped is trained: its gradient is the sum over\n"
            "what is clipped. Weights are those of dorefa.",
            "Choi et al., PACT, 2018",
            "automl.recovery.quantizers.pact:TrainedClips",
            frozenset({"training-data"}),
        ),
        Method(
            "dorefa",
            "Weights pass a tanh and have all 2^k levels, none of them zero, up to 7 bits;\n"
            "activations are clipped to the range of calibration.",
            "Zhou et al., DoReFa-Net, 2016",
            "automl.recovery.quantizers.dorefa:Squashed",
            frozenset({"training-data"}),
        ),
        Method(
            "qil",
            "Magnitudes of weights between two ends are spread over the integers; both ends are\n"
            "trained. Activations are those of lsq.",
            "Jung et al., Quantization Interval Learning, 2019",
            "automl.recovery.quantizers.qil:TrainedIntervals",
            frozenset({"training-data"}),
        ),
        Method(
            "minmax",
            "Weights span their largest magnitude, activations a running average of what batches\n"
            "span; no range is trained.",
            "Jacob et al., 2018; Krishnamoorthi, 2018",
            "automl.recovery.quantizers.minmax:SpanningIntegers",
            frozenset({"training-data"}),
        ),
        Method(
            "hwgq",
            "Activations after a ReLU have the best levels of half a Gaussian, and gradients by\n"
            "tail=clipped, vanilla or log. Weights are those of lsq.",
            "Cai et al., Half-wave Gaussian Quantization, 2017",
            "automl.recovery.quantizers.hwgq:HalfWave",
            frozenset({"training-data"}),
        ),
        Method(
            "relaxed",
            "Rounding is drawn among neighbours, relaxed so that steps and noise are trained; to\n"
            "the nearest afterwards.",
            "Louizos et al., Relaxed Quantization, 2019",
            "automl.recovery.quantizers.relaxed:RelaxedRounding",
            frozenset({"training-data"}),
        ),
        Method(
            "ternary",
            "Weights of 2 bits: those below 0.7 of the mean magnitude are zero, the others have\n"
            "the mean magnitude of those above.",
            "Li et al., Ternary Weight Networks, 2016",
            "automl.recovery.quantizers.ternary:TernaryWeights",
            frozenset({"training-data"}),
        ),
        Method(
            "ttq",
            "Weights alone of 2 bits: -Wn, 0 and Wp, both trained; zero are those below\n"
            "threshold=0.05 of the largest.",
            "Zhu et al., Trained Ternary Quantization, 2017",
            "automl.recovery.quantizers.ttq:TrainedTernary",
            frozenset({"training-data"}),
        ),
        Method(
            "elq",
            "Weights of 2 bits as of ternary, pulled to their rounded values by pull=0.1 of the\n"
            "gradient's length.",
            "Zhou et al., Explicit Loss-Error-Aware Quantization, 2018",
            "automl.recovery.quantizers.elq:LossErrorAware",
            frozenset({"training-data"}),
        ),
        Method(
            "lr-net",
            "Weights alone of 1 or 2 bits: chances of -1, 0 and 1 are trained by drawing each\n"
            "layer's outputs; the likeliest values afterwards.",
            "Shayer et al., Learning Discrete Weights, 2018",
            "automl.recovery.quantizers.lr_net:DiscreteWeights",
            frozenset({"training-data"}),
        ),
        Method(
            "binary",
            "Weights of 1 bit: signs with a scale that is trained; the numbers behind the signs\n"
            "stay in their range.",
            "Courbariaux et al., BinaryConnect, 2015",
            "automl.recovery.quantizers.binary:BinaryConnect",
            frozenset({"training-data"}),
        ),
        Method(
            "bnn",
            "Weights of 1 bit: signs with the scale that they began with, no gradient beyond 1.\n"
            "Signs of activations cannot be exported.",
            "Hubara et al., Binarized Neural Networks, 2016",
            "automl.recovery.quantizers.binary:BinarizedNetwork",
            frozenset({"training-data"}),
        ),
        Method(
            "xnor",
            "Weights of 1 bit: signs with the mean magnitude of the output's numbers. Signs of\n"
            "activations cannot be exported.",
            "Rastegari et al., XNOR-Net, 2016",
            "automl.recovery.quantizers.binary:XnorNetwork",
            frozenset({"training-data"}),
        ),
        Method(
            "pow2",
            "Weights alone of 3 to 8 bits: zero or a power of two, the nearest to the number\n"
            "that is trained.",
            "Zhou et al., INQ, 2017; Elhoushi et al., DeepShift, 2019",
            "automl.recovery.quantizers.pow2:PowersOfTwo",
            frozenset({"training-data"}),
        ),
    ),
)
