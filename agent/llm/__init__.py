"""Language models behind one small interface; knows nothing of worlds, plans or the loop."""
