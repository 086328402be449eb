"""The tables of Du et al. 2021 (arXiv 2104.06761), each as one command."""
