"""The steps of the drill, one a file: what earlier steps left behind in, a result out."""
