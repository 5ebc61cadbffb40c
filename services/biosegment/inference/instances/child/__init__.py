"""What runs in the child process: arrays in, arrays out, and the tasks that feed them.

Only this package imports cc3d, edt, scipy, scikit-image and pyarrow.
"""
