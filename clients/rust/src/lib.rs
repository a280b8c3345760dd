//! ledgerflux-client
