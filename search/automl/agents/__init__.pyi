from .registry import AGENTS as AGENTS
from .registry import make_agent as make_agent
