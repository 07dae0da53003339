"""Forward-pass metrics as NVIDIA Dynamo has them: derived from a recording, and summed up."""
