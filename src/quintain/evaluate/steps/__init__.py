"""One file for each verb of the command line, each with a function ``run_VERB`` that returns a
``StepOutput``.
"""
