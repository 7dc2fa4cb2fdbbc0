from .catalogue import EXAMPLES as EXAMPLES
from .catalogue import Example as Example
from .catalogue import example_of as example_of
from .catalogue import find_example as find_example
from .worked import WorkedExample as WorkedExample
from .worked import copy_worked_example as copy_worked_example
from .worked import worked_examples as worked_examples
