"""All of Ray: placement, schedule, what its processes run, scoring actors. Imported nowhere below."""
