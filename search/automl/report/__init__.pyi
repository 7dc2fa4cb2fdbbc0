from .page import write_page as write_page
from .reporting import REPORT as REPORT
from .reporting import Reported as Reported
from .reporting import write_report as write_report
from .runs import read_run as read_run
from .sweeps import read_sweep as read_sweep
