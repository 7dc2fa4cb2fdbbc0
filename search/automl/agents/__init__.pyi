from .registry import AGENTS as AGENTS
from .registry import default_trials as default_trials
from .registry import make_agent as make_agent
