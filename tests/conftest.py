"""Here so that tests in the folders below find `handmade`: pytest puts this folder on the path."""
