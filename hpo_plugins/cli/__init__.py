"""The command line, ``hpo-plugins``: stored studies, while workers write to them."""
