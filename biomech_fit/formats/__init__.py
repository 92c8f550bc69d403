"""Files in and out. Files are data: nothing that is read is executed, results are written whole or not at all."""
