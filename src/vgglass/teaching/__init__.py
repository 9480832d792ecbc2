"""Teaching by examples: a folder of classes that people sort images into, and a head fitted anew after every change."""
