"""The contract that the package ships for agents of others too, under the name used here."""

from automl.testing import AgentContract, Score, best, harm_of, made_problem, run, trial

__all__ = ["AgentContract", "Score", "best", "harm_of", "made_problem", "run", "trial"]
