"""The offline end-to-end fit: all frames of all recordings of a person at once, with one body and one rig. It starts from what the streaming fit found."""
