"""The forms by name, ours and those that other packages add.

Another package adds one with an entry point in the group "automl.forms" whose value is a subclass
of `automl.compression.Form` that is made without arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from automl.methods import Method, Registry

if TYPE_CHECKING:
    from automl.compression.forms.base import Form


#: Forms that run as plain convolutions, and cost little to fit: those of the word "forms". Words
#: such as "rank" open a family.
_USUAL: Final = {"usual": True}
_RANK: Final = {"family": "rank", **_USUAL}


def _entry(
    name: str, maker: str, paper: str, summary: str, details: Mapping[str, object] = _RANK
) -> Method:
    made_by = f"automl.compression.forms.{maker}"
    return Method(name, summary, paper, made_by, frozenset({"data"}), details=details)


FORMS: Final[Registry[Form[Any]]] = Registry(
    "forms",
    (
        _entry(
            "rank-spatial",
            "rank_spatial:RankSpatial",
            "Jaderberg et al., 2014; in the metric of the inputs' moments: as Zhang et al., 2015",
            "A k x 1 convolution into some channels, then a 1 x k one: of least error for what\n"
            "the layer reads.",
        ),
        Method(
            "rank-spatial-plain",
            "The same by singular values of the weights alone, whatever the layer reads: the\n"
            "usual baseline.",
            "Denton et al., 2014",
            "automl.compression.forms.rank_spatial:PlainRankSpatial",
        ),
        _entry(
            "rank-channel",
            "rank_channel:RankChannel",
            "Denton et al., 2014; Zhang et al., 2015 (the metric of the inputs)",
            "A 1 x 1 convolution into fewer channels before the k x k one, or behind it; two\n"
            "linear layers for one.",
        ),
        _entry(
            "tucker",
            "tucker:Tucker",
            "Kim et al., Compression of Deep Convolutional Neural Networks, 2016",
            "A 1 x 1 convolution into fewer channels, a k x k one among these, and a 1 x 1 one\n"
            "back.",
        ),
        _entry(
            "taps",
            "taps:Taps",
            "Anwar et al., Structured Pruning, 2017 (intra-kernel strided)",
            "Fewer taps, the same ones in all kernels: 3 x 1, 1 x 3 or 1 x 1 of 3 x 3; every\n"
            "second one of 5 x 5.",
            _USUAL,
        ),
        _entry(
            "separable",
            "separable:Separable",
            "Howard et al., MobileNet, 2017 (here in closed form)",
            "A convolution of each channel by itself, once or twice, then a 1 x 1 one over all.",
            _USUAL,
        ),
        _entry(
            "grouped",
            "grouped:Grouped",
            "Zhang et al., ShuffleNet, 2018; Huang et al., CondenseNet, 2018 (here in closed form)",
            "A convolution with groups between channels in another order: which channels belong\n"
            "together is searched.",
            {},
        ),
        _entry(
            "ghost",
            "ghost:Ghost",
            "Han et al., GhostNet, 2020 (here in closed form)",
            "A convolution into few maps, and cheap depthwise ones that make all outputs of these.",
            {},
        ),
        _entry(
            "shift",
            "shift:Shift",
            "Wu et al., Shift, 2018; Chen et al., All You Need Is a Few Shifts, 2019 (closed form)",
            "Each channel is read at one tap, which runs as a depthwise convolution, then a 1 x 1\n"
            "one over all.",
            {},
        ),
        _entry(
            "pow2",
            "pow2:PowerOfTwo",
            "Zhou et al., INQ, 2017 (its grid, without training); Elhoushi et al., DeepShift, 2019",
            "Each weight is zero or a power of two, of those next to the layer's largest weight.",
            {},
        ),
        _entry(
            "clustered",
            "clustered:Clustered",
            "Han et al., Deep Compression, 2016 (sections 2 and 3, without training)",
            "Some weights stay and share a few values; the packed file holds indices and gaps,\n"
            "which Huffman codes make smaller still.",
            {},
        ),
        _entry(
            "outliers",
            "outliers:Outliers",
            "Park et al., Value-Aware Quantization, 2018 (without training)",
            "The few largest weights of an output stay, the others have few bits: for its size.",
            {},
        ),
        _entry(
            "rank+sparse",
            "rank_sparse:RankSparse",
            "Yu et al., Low Rank and Sparse Decomposition, 2017",
            "A matrix of low rank, and few weights beside it: for its size.",
            {},
        ),
        _entry(
            "pq",
            "pq:ProductQuantised",
            "Wu et al., Quantized CNNs for Mobile Devices, 2016; Wu et al., Deep k-Means, 2018",
            "Stretches of neighbouring weights are few, which all outputs share: for its size.",
            {},
        ),
        _entry(
            "binary-sum",
            "binary_sum:BinarySum",
            "Lin et al., ABC-Net, 2017 (weights, without training)",
            "Weights are sums of one to three binary ones with a scale each: for its size.",
            {},
        ),
        _entry(
            "2:4",
            "two_of_four:TwoOfFour",
            "Mishra et al., Accelerating Sparse Deep Neural Networks, 2021; SparseGPT, 2023",
            "Two of every four input channels have weights, which compensate for the others;\n"
            "where a table has rows of sparse kernels.",
            {},
        ),
        _entry(
            "unstructured",
            "masks:Unstructured",
            "LeCun et al., 1989 (obd); Hassibi and Stork, 1993 (obs); Han et al., 2015 (magnitude)",
            "A share of the weights stays, wherever they are, and compensates for the others: for\n"
            "its size.",
            {},
        ),
        _entry(
            "kernel",
            "masks:KernelMask",
            "Anwar et al., Structured Pruning, 2017 (kernel level)",
            "A share of the kernels between two channels stays: for its size.",
            {},
        ),
        _entry(
            "row",
            "masks:RowMask",
            "Mao et al., Exploring the Granularity of Sparsity, 2017 (vectors)",
            "A share of the rows of taps stays in each layer, or of the columns: for its size.",
            {},
        ),
        _entry(
            "circulant",
            "circulant:Circulant",
            "Ding et al., CirCNN, 2017",
            "Blocks of channels in which each row is the one before it, turned: for its size.",
            {},
        ),
        _entry(
            "hash",
            "hashed:Hashed",
            "Chen et al., Compressing Neural Networks with the Hashing Trick, 2015",
            "A hash of its place says which of few numbers a weight is: for its size.",
            {},
        ),
        _entry(
            "lego",
            "lego:Lego",
            "Yang et al., LegoNet, 2019",
            "Halves of filters are multiples of shared small filters: for its size.",
            {},
        ),
        _entry(
            "versatile",
            "versatile:Versatile",
            "Wang et al., Learning Versatile Filters, 2018",
            "Some filters are the middles of others: for its size.",
            {},
        ),
        _entry(
            "dct",
            "dct:Frequencies",
            "Wang et al., CNNpack, 2016",
            "The strong frequencies of each kernel, in a codebook's values: for its size.",
            {},
        ),
    ),
)


@cache
def form_of(name: str) -> Form[Any]:
    """The form of that name.

    Raises:
        UnknownNameError: There is none; names the nearest.
        UsageError: Its package fails to load it.
    """
    return FORMS.make(name)
