//! The proof: claims about the built binary.

mod config;
mod cli;
