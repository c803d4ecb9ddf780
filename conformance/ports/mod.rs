//! Contract suites of the ports: each is run for every adapter of its port.

mod ledger;
