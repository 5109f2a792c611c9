"""What is searched: vectors as they are stored, packed and compared. Nothing here knows a config's stages."""
