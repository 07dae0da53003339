"""Charts of costs, earnings and energy over the load, and of hardware options over the demand."""
