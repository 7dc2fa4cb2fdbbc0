from .catalogue import EXAMPLES as EXAMPLES
from .catalogue import Example as Example
from .catalogue import example_of as example_of
from .catalogue import find_example as find_example
