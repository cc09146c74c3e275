"""A storage over HTTP: the server of ``hpo-plugins serve``, and its clients."""
