"""The report as one self-contained page that loads nothing. Charts are drawn here, as SVG, so that a printer and a
reader without scripts see them too; only the switch between light and dark is a script."""
