from .loop import RecoverySettings as RecoverySettings
from .loop import recover as recover
