"""The database behind `exchange.domain.store.Store`; dialect lives here alone."""
