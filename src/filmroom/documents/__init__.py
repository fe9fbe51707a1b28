"""What is not an image made visible: reports, encapsulated documents, waveforms. Pure."""
