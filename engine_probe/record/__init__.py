"""The recording: schemas, the hot-path buffer, the writer, the run folder, reading and recovery."""
