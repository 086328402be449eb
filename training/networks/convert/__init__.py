"""Public networks of other formats as ONNX files: TensorFlow Lite and OpenVINO's intermediate representation.

Only the operators of the networks that this project uses are known; any other one is an error that names it.
The same source always gives the same bytes, so that the result can be pinned by its digest.
"""
