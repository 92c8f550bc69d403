"""Time and buffers: from single packets to frame sets to results."""
