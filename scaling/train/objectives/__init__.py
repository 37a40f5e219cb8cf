"""What a run minimises: one class an objective, its options in `specs.objective`, its name in `registry.OBJECTIVES`."""
