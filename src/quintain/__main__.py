"""``python -m quintain``, and ``torchrun -m quintain``."""

from quintain.cli.main import run

if __name__ == "__main__":
    run()
