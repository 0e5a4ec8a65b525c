"""ONNX: recurrent nodes in, and cells over sequences out."""

from rnnjax.interop._onnx._from_onnx import from_onnx
from rnnjax.interop._onnx._to_onnx import to_onnx

__all__ = ["from_onnx", "to_onnx"]
