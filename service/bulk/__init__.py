"""Tags folders of any size in bounded memory; a stopped run continues where it stopped."""
