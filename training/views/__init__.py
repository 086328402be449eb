"""Views of a photo: masked, in pseudo-NIR, or both."""
