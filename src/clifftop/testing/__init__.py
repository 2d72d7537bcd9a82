"""Conformance suites, shipped so that a new engine, rule or store can be held to them."""
