"""`python -m training pretrain`: a classifier of VIS subjects, as the start of everything else."""
