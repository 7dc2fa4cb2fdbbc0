"""The contract that the package ships for agents of others too, under the name used here."""

from automl.testing import AgentContract, Score, best, made_problem, run, sensitivity_of, trial

__all__ = ["AgentContract", "Score", "best", "made_problem", "run", "sensitivity_of", "trial"]
