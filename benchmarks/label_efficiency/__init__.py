"""How good a segmentation gets with how few labels: learning curves of acquisition strategies.

The experiment of Rombaut, Roels and Saeys, "BioSegment: Active Learning segmentation for 3D
electron microscopy imaging", section 4, run through the code that the services run: nothing of
sampling, training, scoring, selection or evaluation is written a second time here.
"""
