"""The face detector that this project trains: pictures, scenes, network, training, evaluation."""
