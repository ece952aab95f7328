"""Entry of ``python -m lfi_helpers.course``; never does anything but hand over to the CLI."""

import sys

from lfi_helpers.course.cli import main

sys.exit(main())
