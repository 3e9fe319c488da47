//! Which topics are copied, under which names, and what the target needs for them.

pub mod plan;
