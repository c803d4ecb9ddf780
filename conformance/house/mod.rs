//! What keeps the house as it was laid out: arrows, sizes, dependencies, and the README's word.

pub mod sources;
mod tidy;
mod dependencies;
mod readme;
