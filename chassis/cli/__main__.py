import sys

from chassis.cli.main import main

sys.exit(main())
