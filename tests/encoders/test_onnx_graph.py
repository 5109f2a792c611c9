from __future__ import annotations

from ragqa.encoders.embedded.cross_encoder import CROSS_ENCODER
from ragqa.encoders.embedded.files import verified_bytes
from ragqa.encoders.onnx_graph import also_giving


def test_outputs_that_are_added_are_those_that_onnx_reads() -> None:
    import onnx

    names = [*CROSS_ENCODER.states, "x" * 300]
    before = onnx.load_from_string(verified_bytes(CROSS_ENCODER))
    after = onnx.load_from_string(also_giving(verified_bytes(CROSS_ENCODER), names))
    assert [output.name for output in after.graph.output] == [
        *(output.name for output in before.graph.output),
        *names,
    ]
    assert len(after.graph.node) == len(before.graph.node)
    del after.graph.output[len(before.graph.output) :]
    assert after == before
