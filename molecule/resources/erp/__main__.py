"""``python -m erp``."""

from erp.cli.main import main

raise SystemExit(main())
