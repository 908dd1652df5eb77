"""``python -m pushforward.kernels``; see `ahead`."""

import sys

from pushforward.kernels.ahead import main

if __name__ == "__main__":
    sys.exit(main())
