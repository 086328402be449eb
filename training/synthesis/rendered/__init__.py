"""Renders subjects of the ICT FaceKit model in visible and near-infrared light."""
