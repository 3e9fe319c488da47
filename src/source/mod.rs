//! The fetch machine: what to read next, what is committed, where the source lost data. Pure.
