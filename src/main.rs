//! The binary: arguments to command.

fn main() {}
