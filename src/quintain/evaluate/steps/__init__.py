"""One file for each verb of the command line, with a function ``run_VERB``.

It returns a ``StepOutput``.
"""
