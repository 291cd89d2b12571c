//! The command line of Lotic.

fn main() {}
