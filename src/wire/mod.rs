//! One connection: frames, correlation, version negotiation, TLS.
