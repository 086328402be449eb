"""Subjects rendered from the ICT FaceKit model in visible and near-infrared light."""
