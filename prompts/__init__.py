"""Every word that is sent to a language model, as files with strict templates; knows nothing of who sends them."""
