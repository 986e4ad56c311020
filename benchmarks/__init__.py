"""Measurements that write JSON with the facts of the machine they ran on."""
