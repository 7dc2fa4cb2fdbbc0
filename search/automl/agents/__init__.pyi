from .registry import describe_agents as describe_agents
from .registry import make_agent as make_agent
from .registry import takes as takes
