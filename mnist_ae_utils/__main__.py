"""``python -m mnist_ae_utils``: the command line, which is also installed as ``mnist-ae``."""

from mnist_ae_utils.report.command import main

if __name__ == "__main__":
    raise SystemExit(main())
