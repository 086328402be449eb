"""The face detector that this project trains itself: pictures, scenes, network, training, evaluation."""
