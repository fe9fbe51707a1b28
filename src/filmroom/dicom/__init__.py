"""What a DICOM object is. Bytes in, values out; no I/O."""
