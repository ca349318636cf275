"""The processes' edge: configuration, mTLS identity, the interceptor, thin gRPC servicers."""
