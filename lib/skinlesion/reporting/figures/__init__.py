"""Every figure of the study: one module a notebook, one function a figure."""
