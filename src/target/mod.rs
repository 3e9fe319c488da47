//! The transaction machine of one lane. Pure.
