from .onnx import export_onnx as export_onnx
from .onnx import onnx_bytes as onnx_bytes
from .packed import IntegerWeights as IntegerWeights
from .packed import SharedWeights as SharedWeights
from .packed import Stored as Stored
from .packed import write_packed as write_packed
from .uncalibrated import computes_integers as computes_integers
from .uncalibrated import rough_integer_onnx as rough_integer_onnx
