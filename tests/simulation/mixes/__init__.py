"""Apps that are put together at random from what there is, each killed everywhere and compared with
itself undisturbed: what no kind of the workers' simulator has together with what.
"""
