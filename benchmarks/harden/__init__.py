"""What hardening costs and gives: beside a bare loop, one step beside ten, and certified nets."""
