"""What the hub does: one use case a module, each a Change the writer commits or a query on durable state."""
