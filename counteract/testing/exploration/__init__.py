"""`explore`: every single fault at every step of a saga, on real servers, judged by the protocol of sagas."""

from counteract.testing.exploration.explore import explore
from counteract.testing.exploration.faults import Ending
from counteract.testing.exploration.report import Exploration, ExplorationFailed, Explored

__all__ = ["Ending", "Exploration", "ExplorationFailed", "Explored", "explore"]
