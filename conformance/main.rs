//! The proof: everything that is tested from outside the modules, in one binary so that it links once.

mod arrows;
mod house;
