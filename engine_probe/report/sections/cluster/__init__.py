"""Points that several engines measured together: sum, balance, scaling, and published clusters beside them."""
