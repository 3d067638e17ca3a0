"""A reproducible study of skin-lesion classification on HAM10000.

One noun per module, and data flows one way through them::

    parameters -> dataset -> images -> splits -> training -> predictions -> evaluation -> tables

Figures are drawn by :mod:`skinlesion.reporting.figures`, pages are made by :mod:`skinlesion.reporting.pages`; nothing
imports those two but the notebooks and the command line.
"""
