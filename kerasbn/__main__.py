"""`python -m kerasbn` is the command line."""

import sys

from kerasbn.cli import main

sys.exit(main())
