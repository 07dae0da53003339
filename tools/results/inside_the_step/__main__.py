"""`python -m tools.results.inside_the_step`: write the sections of docs/results/inside_the_step.md."""

from tools.results.inside_the_step.page import main

main()
