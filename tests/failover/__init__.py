"""What a service goes through while its database fails over."""
