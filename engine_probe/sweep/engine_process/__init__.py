"""The process that holds the engine of a sweep: started, told what to measure, watched, ended."""
