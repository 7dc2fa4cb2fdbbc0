"""Who searches: each agent proposes policies for a `Problem` and learns from their trials."""
