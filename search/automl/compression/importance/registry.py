"""The importances by name, ours and those that other packages add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from automl.methods import Method, Registry

if TYPE_CHECKING:
    from automl.compression.importance.base import Importance

IMPORTANCES: Final[Registry[Importance]] = Registry(
    "importances",
    (
        Method(
            "obs",
            "Structured Optimal Brain Surgeon: the channel goes whose loss the others compensate\n"
            "best, by the inputs' second moments; the weights that stay are updated each time.",
            "Hassibi and Stork, 1993; Kurtic et al., ZipLM, 2023",
            "automl.compression.importance.obs:Obs",
            frozenset({"data"}),
        ),
        Method(
            "l1",
            "The filter goes whose weights are smallest in sum of magnitudes.",
            "Li et al., Pruning Filters for Efficient ConvNets, 2017",
            "automl.compression.importance.l1:L1",
        ),
        Method(
            "l2",
            "The filter goes whose weights are shortest as a vector.",
            "He et al., Soft Filter Pruning, 2018 (its criterion)",
            "automl.compression.importance.l2:L2",
        ),
        Method(
            "fpgm",
            "The filter goes that is nearest to all the others of its layer.",
            "He et al., Filter Pruning via Geometric Median, 2019",
            "automl.compression.importance.fpgm:Fpgm",
        ),
        Method(
            "bn-scale",
            "The channel goes whose batch norm multiplies it by least.",
            "Liu et al., Network Slimming, 2017 (its criterion)",
            "automl.compression.importance.bn_scale:BnScale",
            frozenset({"original-norms"}),
        ),
        Method(
            "apoz",
            "The channel goes that is zero at most places behind its ReLU.",
            "Hu et al., Network Trimming, 2016",
            "automl.compression.importance.apoz:Apoz",
            frozenset({"data", "relus"}),
        ),
        Method(
            "activation",
            "The channel goes whose values are smallest.",
            "Molchanov et al., 2017 (the criterion that it compares with)",
            "automl.compression.importance.activation:Activation",
            frozenset({"data"}),
        ),
        Method(
            "entropy",
            "The channel goes whose mean over an image tells images apart least.",
            "Luo and Wu, An Entropy-based Pruning Method, 2017",
            "automl.compression.importance.entropy:Entropy",
            frozenset({"data"}),
        ),
        Method(
            "taylor",
            "The channel goes whose removal changes the loss on labels least, to first order.",
            "Molchanov et al., 2017",
            "automl.compression.importance.taylor:Taylor",
            frozenset({"data", "labels", "gradients"}),
        ),
        Method(
            "fisher",
            "The channel goes whose removal changes the outputs least, to first order; without"
            " labels.",
            "Theis et al., Fisher Pruning, 2018 (there of a loss)",
            "automl.compression.importance.fisher:Fisher",
            frozenset({"data", "gradients"}),
        ),
        Method(
            "dcp",
            "Channels come back by the gradient of a loss that tells classes apart where they are"
            " read.",
            "Zhuang et al., Discrimination-aware Channel Pruning, 2018",
            "automl.compression.importance.dcp:Dcp",
            frozenset({"data", "classes"}),
        ),
        Method(
            "lda",
            "The channel goes that tells classes apart least.",
            "Tian et al., Deep LDA-Pruned Nets, 2017",
            "automl.compression.importance.lda:Lda",
            frozenset({"data", "classes"}),
        ),
        Method(
            "inbound",
            "The channel goes whose part in what its readers write varies least.",
            "Polyak and Wolf, Channel-Level Acceleration, 2015",
            "automl.compression.importance.inbound:Inbound",
            frozenset({"data"}),
        ),
        Method(
            "correlation",
            "The channel goes that correlates least with what its readers write.",
            "Sun et al., Sparsifying Neural Network Connections, 2016",
            "automl.compression.importance.correlation:Correlation",
            frozenset({"data"}),
        ),
        Method(
            "obd",
            "Optimal Brain Damage: the channel goes whose weights have the least saliency by a"
            " diagonal Hessian.",
            "LeCun et al., Optimal Brain Damage, 1989",
            "automl.compression.importance.obd:Obd",
            frozenset({"data"}),
        ),
        Method(
            "thinet",
            "The channel goes next that leaves the least output error with those that went.",
            "Luo et al., ThiNet, 2017",
            "automl.compression.importance.thinet:Thinet",
            frozenset({"data"}),
        ),
        Method(
            "lasso",
            "Channels by the L1 penalty under which each first takes part in the outputs.",
            "He et al., Channel Pruning, 2017",
            "automl.compression.importance.lasso:Lasso",
            frozenset({"data"}),
        ),
        Method(
            "energy",
            "Channels come back one by one from nothing, each that lowers the output error most.",
            "Yang et al., Energy-Aware Pruning, 2017 (its criterion)",
            "automl.compression.importance.energy:Energy",
            frozenset({"data"}),
        ),
        Method(
            "merge",
            "The channel most like another goes, and the weights that read it are added to those\n"
            "that read the other: without data.",
            "Srinivas and Babu, Data-free Parameter Pruning, 2015",
            "automl.compression.importance.merge:Merge",
        ),
        Method(
            "particles",
            "A population of masks, drawn anew by what each does to the outputs.",
            "Anwar et al., Structured Pruning, 2017 (its particle filter)",
            "automl.compression.importance.particles:Particles",
            frozenset({"data"}),
        ),
        Method(
            "wins",
            "The piece of a maxout unit goes that is the largest of its unit least often; other\n"
            "channels as by obs.",
            "Rueda et al., Neuron Pruning Using Maxout Architectures, 2017",
            "automl.compression.importance.wins:Wins",
            frozenset({"data", "maxout"}),
        ),
        Method(
            "random",
            "An order that is drawn; the best of several with tries=N, by what it does to the"
            " outputs.",
            "Anwar and Sung, Coarse Pruning with Random Masks, 2016",
            "automl.compression.importance.random:Random",
        ),
    ),
)
