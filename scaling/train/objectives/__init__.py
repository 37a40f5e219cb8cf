"""What a run minimises: one class an objective, its options in `spec`, its name in `registry.OBJECTIVES`."""
